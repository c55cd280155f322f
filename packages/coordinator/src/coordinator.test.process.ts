/**
 * A coordinator in a process of its own. Says its address and its resident set, and, when it is asked, the largest that this was.
 * Argument: numbers and folder as JSON.
 */
import { startCoordinator } from './start-coordinator.ts'

const { numWorkers, runDir } = JSON.parse(process.argv[2] ?? '{}') as { numWorkers: number; runDir: string }
const { url, token } = await startCoordinator({
  job: { name: 'flooded', steps: 3, batch: { global: 8 } },
  numWorkers,
  runDir,
})
let peakBytes = process.memoryUsage.rss()
process.send?.({ url, token, rssBytes: peakBytes })
setInterval(() => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss())
}, 10)
process.on('message', () => process.send?.({ peakBytes }))
