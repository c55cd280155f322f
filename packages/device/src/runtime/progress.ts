/** The steps of a set-up, in order; `compile` runs while `unpack` does. */
export type SetupStage = 'wait' | 'download' | 'unpack' | 'compile' | 'check' | 'done'

export interface SetupProgress {
  readonly stage: SetupStage
  /** What is handled: a wheel, a library, a process waited for. */
  readonly what: string
  readonly doneBytes?: number
  readonly totalBytes?: number
  /** Since this stage began. */
  readonly ms: number
  /** The stage has ended. */
  readonly ended: boolean
}

export type OnProgress = (progress: SetupProgress) => void

/** A function that reports one stage's progress with its running time. */
export function stageReporter(
  stage: SetupStage,
  what: string,
  options: { readonly onProgress?: OnProgress },
  totalBytes?: number,
) {
  const since = performance.now()
  return (doneBytes?: number, ended = false) => {
    options.onProgress?.({
      stage,
      what,
      ms: performance.now() - since,
      ended,
      ...(doneBytes === undefined ? {} : { doneBytes }),
      ...(totalBytes === undefined ? {} : { totalBytes }),
    })
  }
}
