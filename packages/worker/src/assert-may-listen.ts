import { SkeinError } from '@skein/core'
import { checkTlsIdentity, isLoopback } from '@skein/transport'
import { WorkerErrors } from './errors.ts'
import type { WorkerOptions } from './options.ts'

/**
 * Refuses what cannot end well before anything is opened. Lanes have tokens of their own, from the coordinator; but a worker that is to be reached
 * from other machines has a coordinator that asks for the run's.
 * @throws SKEIN_WORKER_TOKEN_NEEDED, SKEIN_TRANSPORT_TLS_IDENTITY
 */
export function assertMayListen({ listenHost, token, tls }: WorkerOptions): void {
  if (tls !== undefined) checkTlsIdentity(tls, Date.now())
  if (listenHost === undefined || isLoopback(listenHost) || token !== undefined) return
  throw new SkeinError(WorkerErrors.TOKEN_NEEDED, {
    what: `the worker was to listen on ${listenHost} without a token`,
    why: 'a run over several machines has a token, so that nobody else joins it',
    todo: 'pass the one that the coordinator was started with (SKEIN_TOKEN or --token), or listen on 127.0.0.1',
    details: { listenHost },
  })
}
