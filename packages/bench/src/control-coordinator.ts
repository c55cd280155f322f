/** A coordinator in a process of its own: `node control-coordinator.js '{"job":…,"numWorkers":…,"runDir":…,"token":…}'`; says {"url", "pid"}. */
import { type CoordinatorOptions, startCoordinator } from '@skein/coordinator'

const options = JSON.parse(process.argv[2] ?? '') as CoordinatorOptions
const coordinator = await startCoordinator({ ...options, logLevel: 'warn' })
process.stdout.write(`${JSON.stringify({ url: coordinator.url, pid: process.pid })}\n`)
const end = () => process.exit(0)
process.on('SIGTERM', end)
process.on('SIGINT', end)
