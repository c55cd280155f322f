/** A fake worker in a process of its own, to be killed: joins, and votes for as long as it lives. */
import { FakeWorker } from './fake-worker.test.support.ts'

const [url, token, workerId] = process.argv.slice(2) as [string, string, string]
const worker = await FakeWorker.join({ url, token, workerId })
await worker.train(1_000_000)
