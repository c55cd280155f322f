/**
 * Groups over real sockets, for Node: a group by itself, and joining the lanes of one.
 *
 * @example
 * const { group, float32, close } = await openGroup({ rank, addresses: ['10.0.0.1:7100', '10.0.0.2:7100'], token })
 * const tensor = float32(1000)
 * tensor.view.fill(rank)
 * await group.allReduce(tensor.region)
 * await close()
 */
export { type ConnectOptions, connectGroup, type LaneAddress } from './connect-group.ts'
export { EagerLoop, eagerMs } from './eager-loop.ts'
export { type GroupTensor, type OpenedGroup, type OpenGroupOptions, openGroup } from './open-group.ts'
