import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { stepsOf } from '../skein-process.ts'
import { runInContainers, whyNoContainers } from './containers.ts'
import { runInProcesses, type SameRun } from './processes.ts'

const image = process.env['SKEIN_IMAGE']
const missing = await whyNoContainers(image)
const because = missing === undefined ? '' : ` [skipped: ${missing}]`
if (missing !== undefined) process.stderr.write(`\n!!!! CONTAINER TESTS ARE SKIPPED: ${missing}\n\n`)

const run: SameRun = { token: 'a-token-of-the-container-test', workers: 2, steps: 10 }

describe(`the image of docker/Dockerfile${because}`, () => {
  it.skipIf(missing !== undefined)(
    'trains with a coordinator and two workers in containers to the very bits of the same run in processes',
    async () => {
      using folder = temporaryFolder('containers')
      const inProcesses = await runInProcesses(run, folder.path)
      const inContainers = await runInContainers(run, image ?? '')
      for (const events of [inProcesses, inContainers]) {
        expect(stepsOf(events).map(step => step.step)).toEqual(Array.from({ length: run.steps }, (_, i) => i + 1))
        expect(events.at(-1)).toMatchObject({ event: 'done', steps: run.steps })
      }
      const facts = stepsOf(inContainers).map(({ step, digest, loss, workers }) => ({ step, digest, loss, workers }))
      expect(facts).toEqual(
        stepsOf(inProcesses).map(({ step, digest, loss, workers }) => ({ step, digest, loss, workers })),
      )
      expect(new Set(facts.map(fact => fact.digest)).size).toBe(run.steps)
      expect(facts.every(fact => fact.workers === run.workers)).toBe(true)
    },
    300_000,
  )
})
