/**
 * A coordinator in a process of its own. Says its address and its resident set, and, when it is asked, the largest that this was.
 * Argument: its options as JSON.
 */
import { type CoordinatorOptions, startCoordinator } from './start-coordinator.ts'

const { url, token } = await startCoordinator(JSON.parse(process.argv[2] ?? '') as CoordinatorOptions)
let peakBytes = process.memoryUsage.rss()
process.send?.({ url, token, rssBytes: peakBytes })
setInterval(() => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss())
}, 10)
process.on('message', () => process.send?.({ peakBytes }))
