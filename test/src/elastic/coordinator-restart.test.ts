import path from 'node:path'
import { seededRandom, sleep } from '@skein/core'
import { temporaryFolder, useTestSeed } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { stepsOf } from '../skein-process.ts'
import { commitsOf } from './run-records.ts'
import { isStep, startCluster, untilStep } from './start-cluster.ts'

const seed = useTestSeed()

describe('a coordinator that is killed', () => {
  it('goes on from its log: no committed step is lost or made twice, and its workers come back with their state', async () => {
    using folder = temporaryFolder('restart')
    const runDir = path.join(folder.path, 'run')
    await using cluster = await startCluster(folder.path, { workers: 2 })
    const random = seededRandom(seed)
    let committed = 0
    for (let life = 0; life < 3; life++) {
      await untilStep(cluster, committed + 3)
      await sleep(random.nextInt(200))
      cluster.coordinator?.killNow()
      await cluster.coordinator?.exited
      committed = commitsOf(runDir).at(-1)?.step ?? 0
      const restartedMs = performance.now()
      await cluster.startCoordinator()
      const next = await cluster.until(event => isStep(event) && Number(event['step']) > committed, 'the next step')
      expect(next['step']).toBe(committed + 1)
      // The bound of docs/fault-matrix.md, on a machine that runs all the processes.
      expect(performance.now() - restartedMs).toBeLessThan(10_000 + 3_000)
    }
    await cluster.stop()
    const done = await cluster.ended
    const commits = commitsOf(runDir)
    expect(commits.map(commit => commit.step)).toEqual(Array.from({ length: Number(done['steps']) }, (_, i) => i + 1))
    expect(commits.map(commit => commit.samplesTo)).toEqual(commits.map(commit => 16 * commit.step))
    // What anyone was told of, in any life of the coordinator, is in the log, as it was told.
    const digests = new Map(commits.map(({ step, digest }) => [step, digest]))
    for (const { step, digest } of stepsOf(cluster.events)) expect(digest, `step ${step}`).toBe(digests.get(step))
    for (const { exited } of cluster.workers.values()) expect((await exited).code).toBe(0)
  })
})
