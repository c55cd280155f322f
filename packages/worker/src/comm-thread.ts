/**
 * Entry of the comm thread: owns every socket of the worker, its heartbeats, and the executor of collectives. The device
 * thread may be blocked in a kernel for seconds; this one never is, so a long kernel does not look like a dead worker.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { CommSession } from './comm-session.ts'
import type { CommStart, ToComm, ToDevice } from './thread-messages.ts'

const port = parentPort
if (port === null) throw new Error('comm-thread.js is started by the device thread as a worker_thread')

const session = new CommSession(workerData as CommStart, (message: ToDevice) => port.postMessage(message))
port.on('message', (message: ToComm) => session.receive(message))
session.open().catch((error: unknown) => session.fail(error))
