import { followEvents } from '../follow-events.ts'
import { errorOfEvent } from '../error-event.ts'
import type { RunAddress } from '../find-run.ts'
import { faceKind, openFace } from '../view/run-face.ts'
import { summaryLines } from '../view/summary.ts'

/** `skein watch URL`: the live view of a run that was started elsewhere. Status 0 when the run ended well, 1 when it failed. */
export async function watch(
  options: RunAddress & { readonly json: boolean; readonly plain: boolean; readonly signal: AbortSignal },
): Promise<number> {
  const { urls, token, tls, json, signal } = options
  const kind = faceKind(options, process.stdout.isTTY)
  const face = openFace({
    kind,
    jobName: urls.join(', '),
    out: process.stdout,
    colours: process.stdout.hasColors?.() ?? false,
  })
  try {
    const last = await followEvents({
      urls,
      signal,
      onEvent: event => face.onEvent(event),
      onLeader: url => face.onNote(`the coordinator at ${url} leads now`),
      ...(token === undefined ? {} : { token }),
      ...(tls === undefined ? {} : { tls }),
    })
    face.close()
    if (last === undefined) return 0
    if (last.event === 'done') {
      if (!json) process.stdout.write(`${summaryLines(face.view, last).join('\n')}\n`)
      return 0
    }
    // With --json the run's own error line was printed already.
    if (json) return 1
    throw errorOfEvent(last)
  } finally {
    face.close()
  }
}
