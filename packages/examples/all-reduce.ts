/**
 * Two processes sum an array, with nothing but the collective library. In two terminals, or with & behind the first:
 *
 *     node packages/examples/dist/all-reduce.js 0
 *     node packages/examples/dist/all-reduce.js 1        rank 1: 3 3 3 3
 */
import { openGroup } from '@skein/collective/node'

const rank = Number(process.argv[2])
const addresses = ['127.0.0.1:7101', '127.0.0.1:7102']
const { group, float32, close } = await openGroup({ rank, addresses, token: 'a secret of both' })
const tensor = float32(4)
tensor.view.fill(rank + 1)
await group.allReduce(tensor.region)
console.log(`rank ${rank}: ${tensor.view.join(' ')}`)
await close()
