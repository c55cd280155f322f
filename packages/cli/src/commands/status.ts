import { askCoordinator } from '../follow-events.ts'
import type { RunAddress } from '../find-run.ts'

/** `skein status [URL]`: the coordinator's status object, as JSON. */
export async function status(options: RunAddress & { readonly json: boolean }): Promise<number> {
  const { json, ...address } = options
  const answer = await askCoordinator({
    ...address,
    method: 'GET',
    path: '/status',
    timeoutMs: 10_000,
  })
  process.stdout.write(`${JSON.stringify(answer, undefined, json ? undefined : 2)}\n`)
  return 0
}
