import { seededRandom, sleep } from '@skein/core'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { stepsOf } from '../skein-process.ts'
import { ElasticRun } from './elastic-run.ts'

const seed = useTestSeed()

describe('a coordinator that is killed', () => {
  it('goes on from its log: no committed step is lost or made twice, and its workers come back with their state', async () => {
    using folder = temporaryFolder('restart')
    await using run = await ElasticRun.start(folder.path, { workers: 2, steps: 100_000 })
    const random = seededRandom(seed)
    const seen: number[] = []
    for (let life = 0; life < 3; life++) {
      await run.step((seen.at(-1) ?? 0) + 3)
      await sleep(random.nextInt(200))
      run.coordinator.child.kill('SIGKILL')
      await run.coordinator.ended
      const told = stepsOf(run.coordinator.events).at(-1)?.step ?? 0
      const committed = run.commits().at(-1)?.step ?? 0
      expect(committed, 'what anyone was told of is in the log').toBeGreaterThanOrEqual(told)
      seen.push(committed)
      const restartedMs = performance.now()
      await run.restartCoordinator()
      const next = await run.until(event => event.event === 'step', 'next step')
      expect(next['step']).toBe(committed + 1)
      // The bound of docs/fault-matrix.md, on a machine that runs all the processes.
      expect(performance.now() - restartedMs).toBeLessThan(10_000 + 3_000)
    }
    await run.stop()
    const done = await run.until(event => event.event === 'done', 'end')
    const commits = run.commits()
    expect(commits.map(commit => commit.step)).toEqual(Array.from({ length: Number(done['steps']) }, (_, i) => i + 1))
    expect(commits.map(commit => commit.samplesTo)).toEqual(commits.map(commit => 16 * commit.step))
    for (const { ended } of run.workers.values()) expect((await ended).code).toBe(0)
  })
})
