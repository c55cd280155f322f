import { SkeinError } from '@skein/core'
import { freePort } from '@skein/testkit'
import { expect, test } from 'vitest'
import { runWorker } from './run-worker.ts'

const told = new SkeinError(
  { code: 'SKEIN_TEST_TOLD', retry: 'never', meaning: 'a worker is told to go' },
  { what: 'told to go', why: 'a test', todo: 'nothing' },
)

test.each(['signal', 'leave'] as const)(
  'a %s that is given while the device is being chosen is not lost',
  async kind => {
    const ending = new AbortController()
    // Nobody answers there: it would look for a coordinator, and fail for want of one.
    const join = [`http://127.0.0.1:${await freePort()}`]
    const running = runWorker({ join, device: 'wasm', logLevel: 'silent', joinTimeoutMs: 500, [kind]: ending.signal })
    ending.abort(told)
    await expect(running).rejects.toMatchObject({ code: told.code })
  },
)
