import { askCoordinator } from '../follow-events.ts'

/** `skein status [URL]`: the coordinator's status object, as JSON. */
export async function status(options: {
  readonly url: string
  readonly token?: string
  readonly json: boolean
}): Promise<number> {
  const { url, token } = options
  const answer = await askCoordinator({
    url,
    method: 'GET',
    path: '/status',
    timeoutMs: 10_000,
    ...(token === undefined ? {} : { token }),
  })
  process.stdout.write(`${JSON.stringify(answer, undefined, options.json ? undefined : 2)}\n`)
  return 0
}
