import fs from 'node:fs'
import type { PipelineMeasured, PipelineRequest } from './pipeline-rank.ts'
import { onLoopback, startRanks } from './rank-world.ts'

/**
 * Of one schedule: the times of its steps in ms, without the first, and what the ranks say of them. A step is from the first rank's begin to the last
 * one's end; where nothing keeps the ranks together, from the last end of the step before.
 */
export interface PipelineRun {
  readonly samples: readonly number[]
  /** Of the rank that takes longest. */
  readonly perOpMicros: number
  /** By rank. */
  readonly peakActivations: readonly number[]
}

/** Ranks of a pipeline with paced stages, alive and connected: processes with two threads each. */
export interface PipelineWorld {
  run(request: PipelineRequest): Promise<PipelineRun>
  end(): Promise<void>
}

export async function pipelineWorld(ranks: number, lanes: 'raw' | 'unix'): Promise<PipelineWorld> {
  const place = onLoopback
  const { processes, folder } = await startRanks('pipeline-rank.js', { ranks, lanes, maxBytes: 64 << 20, place })
  return {
    async run(request) {
      const line = `run ${JSON.stringify(request)}`
      const answers = await Promise.all(processes.map(process => process.ask<PipelineMeasured>(line)))
      // The first step opens what is opened once.
      const samples = Array.from({ length: request.steps }, (_, step) => {
        const starts = answers.map(answer => answer.steps[step]?.[0] as number)
        const ends = answers.map(answer => answer.steps[step]?.[1] as number)
        const ended = answers.map(answer => answer.steps[step - 1]?.[1] ?? 0)
        return Math.max(...ends) - (request.schedule.updates === 'validated' ? Math.max(...ended) : Math.min(...starts))
      }).slice(1)
      return {
        samples,
        perOpMicros: Math.max(...answers.map(({ perOpMicros }) => perOpMicros)),
        peakActivations: answers.map(({ peakActivations }) => peakActivations),
      }
    },
    async end() {
      await Promise.all(processes.map(process => process.end()))
      fs.rmSync(folder, { recursive: true, force: true })
    },
  }
}
