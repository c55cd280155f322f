import { temporaryFolder } from '@skein/testkit'
import { createLogger } from '@skein/telemetry'
import { expect, it } from 'vitest'
import type { CoordinatorConfig } from './config.ts'
import { recover } from './recover.ts'
import type { RunHistory } from './run-history.ts'

const digest = '0123456789abcdef'

/** A run of one worker that committed three steps, of which the second is in a checkpoint there. */
function historyWith(path: string): RunHistory {
  const commit = (step: number) => ({
    step,
    generation: 1,
    samplesFrom: 8 * (step - 1),
    samplesTo: 8 * step,
    digest,
    digests: [digest],
    loss: 1,
  })
  const members = [{ workerId: 'w0', incarnation: 'a' }]
  return {
    runId: 'r',
    generations: [{ generation: 1, startStep: 0, parts: 1, startDigest: digest, startDigests: [digest], members }],
    divisions: [],
    commits: [1, 2, 3].map(commit),
    checkpoints: [{ step: 2, generation: 1, path }],
    untrainedLoss: 5,
    ending: undefined,
  }
}

/** Where the run goes on: of the configuration only this matters here. */
async function checkpointOf(path: string, environment: Readonly<Record<string, string>> = {}) {
  const config = { continueRun: true, globalBatch: 8, parts: 1 } as CoordinatorConfig
  const logger = createLogger({ level: 'silent', bindings: {} })
  const { recovered } = await recover({ config, history: historyWith(path), runDir: '/nowhere', environment, logger })
  expect(recovered).toMatchObject({ type: 'recovered', generation: 1, step: 3, samplesTo: 24 })
  return recovered.checkpoint
}

it('a checkpoint that retention has removed is gone; one whose place does not answer is not', async () => {
  using folder = temporaryFolder('gone')
  expect(await checkpointOf(`${folder.path}/step-00000002`)).toBeUndefined()
  // Nobody listens on that port.
  const environment = {
    AWS_ENDPOINT_URL: 'http://127.0.0.1:9',
    AWS_ACCESS_KEY_ID: 'someone',
    AWS_SECRET_ACCESS_KEY: 'something',
    AWS_REGION: 'here',
  }
  const path = 's3://bucket/runs/step-00000002'
  expect(await checkpointOf(path, environment)).toEqual({ step: 2, path })
})
