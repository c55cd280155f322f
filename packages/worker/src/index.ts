/**
 * One worker of a run: the device thread (this one) with TensorFlow and the trainer, and the comm thread with every socket.
 *
 * @example
 * const outcome = await runWorker({ join: ['http://127.0.0.1:7070'], token })
 */
export { WorkerErrors } from './errors.ts'
export type { WorkerOptions, WorkerOutcome } from './options.ts'
export { runWorker } from './run-worker.ts'
