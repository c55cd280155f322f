/**
 * The process around membership: commit log, control links, HTTP status and events.
 *
 * @example
 * const coordinator = await startCoordinator({ job, numWorkers: 4, runDir: './runs/a' })
 * console.log(coordinator.url, coordinator.token)
 * const outcome = await coordinator.finished
 * await coordinator.close()
 */
export type { CoordinatorConfig, CoordinatorConfigInput } from './config.ts'
export type { RunOutcome } from './coordinator.ts'
export { CoordinatorErrors } from './errors.ts'
export { whyFile } from './keep-why.ts'
export { type RunTimelines, timelinesFile } from './timelines.ts'
export { type CoordinatorOptions, type RunningCoordinator, startCoordinator } from './start-coordinator.ts'
export type { CoordinatorStatus, MemberStatus, RunStatus } from './status.ts'
export { type LoggedCommit, type LoggedGeneration, type RunHistory, standOf } from './run-history.ts'
export { readEtcdHistory } from './etcd/etcd-log.ts'
export { SqliteLog } from './sqlite-log.ts'
export type { GenerationFailure, RunWhy, WorkerWhy } from './why.ts'
