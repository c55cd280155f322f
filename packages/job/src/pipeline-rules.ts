import type { ResolvedJob } from './job-types.ts'
import type { Rule } from './rules.ts'
import { vocabularyProblem } from './job-schedule.ts'
import { microbatchesProblem, nextMicrobatches } from './schedules.ts'

/** What has to hold where a model is cut in parts (mesh.pp above 1). */
export const pipelineRules: readonly Rule[] = [
  function scheduleNeedsParts({ schedule, mesh }) {
    if (schedule === undefined || mesh.pp > 1) return undefined
    return {
      fields: ['schedule', 'mesh.pp'],
      what: `schedule ${schedule.name} is given with mesh.pp 1`,
      todo: 'a schedule is for a model that is cut in parts: set mesh.pp, or leave schedule out',
    }
  },

  function sequenceCanBeCut({ model, schedule }) {
    if (schedule === undefined || schedule.slices === 1 || model.kind === 'gpt2') return undefined
    return {
      fields: ['schedule.slices', 'model'],
      what: `schedule.slices ${schedule.slices} with a model of kind "${model.kind}"`,
      todo: 'what its layers do along a sequence is not known: take schedule.slices 1, or a schedule that cuts no sequences',
    }
  },

  function stagesWithinModel(job) {
    const units = unitsOf(job)
    const { schedule, mesh } = job
    if (schedule === undefined || units === undefined) return undefined
    const stages = mesh.pp * schedule.chunks
    if (stages <= units) return undefined
    const fewer = fewerStages(job, units)
    return {
      fields: ['mesh.pp', 'schedule.chunks', 'model.layers'],
      what: `mesh.pp ${mesh.pp} × schedule.chunks ${schedule.chunks} = ${stages} stages are more than the ${units} units of a model with model.layers ${units - 2} (embedding, blocks, head)`,
      todo: `every stage needs a unit: take ${fewer === undefined ? '' : `at most ${fewer}, or `}at least model.layers ${stages - 2}`,
    }
  },

  function cutsFitStages(job) {
    const { schedule, mesh } = job
    const units = unitsOf(job)
    if (schedule?.cuts === undefined || units === undefined) return undefined
    const { cuts, chunks } = schedule
    const stages = mesh.pp * chunks
    const isRising = cuts.every((cut, index) => cut > (cuts[index - 1] ?? 0) && cut < units)
    if (cuts.length === stages - 1 && isRising) return undefined
    return {
      fields: ['schedule.cuts', 'mesh.pp', 'schedule.chunks', 'model.layers'],
      what: `schedule.cuts [${cuts.join(', ')}] do not make mesh.pp ${mesh.pp} × schedule.chunks ${chunks} = ${stages} stages of ${units} units`,
      todo: `give ${stages - 1} rising numbers from 1 to ${units - 1}, the first unit of each stage after the first one, or leave schedule.cuts out`,
    }
  },

  function costsForThoseThatGoByThem({ schedule }) {
    const { name, cap, costs, vocabulary } = schedule ?? {}
    const isSharded = vocabulary === 'sharded'
    if (cap !== undefined && name !== 'auto') {
      return {
        fields: ['schedule.name', 'schedule.cap'],
        what: `schedule.cap is given with schedule.name ${name}`,
        todo: 'only auto is searched for it: take that, or leave schedule.cap out',
      }
    }
    if (costs !== undefined && name !== 'auto' && !isSharded) {
      return {
        fields: ['schedule.name', 'schedule.costs'],
        what: `schedule.costs is given with schedule.name ${name} and a whole vocabulary`,
        todo: 'only auto and a sharded vocabulary go by them: leave them out',
      }
    }
    if (costs?.vocabulary === undefined || isSharded) return undefined
    return {
      fields: ['schedule.costs.vocabulary', 'schedule.vocabulary'],
      what: 'schedule.costs.vocabulary is given with a whole vocabulary',
      todo: 'take schedule.vocabulary "sharded", or leave it out',
    }
  },

  function costsOfEachStage({ schedule, mesh }) {
    const stages = mesh.pp * (schedule?.chunks ?? 1)
    const given = schedule?.costs?.stages.length ?? stages
    if (given === stages) return undefined
    return {
      fields: ['schedule.costs.stages', 'mesh.pp'],
      what: `schedule.costs has ${given} stages, and there are ${stages} (mesh.pp ${mesh.pp} × schedule.chunks ${schedule?.chunks})`,
      todo: 'give the times of each stage',
    }
  },

  function vocabularyOfGpt2({ schedule, model }) {
    if (schedule?.vocabulary !== 'sharded' || model.kind === 'gpt2') return undefined
    return {
      fields: ['schedule.vocabulary', 'model'],
      what: `schedule.vocabulary "sharded" with a model of kind "${model.kind}"`,
      todo: 'which of its layers look tokens up, and whether the last one shares their weights, is not known: leave schedule.vocabulary out',
    }
  },

  function vocabularySuitsSchedule({ schedule, mesh, batch }) {
    const microbatches = batch.global / (mesh.dp * batch.micro)
    if (schedule === undefined || mesh.pp === 1 || !Number.isInteger(microbatches)) return undefined
    // That the rule makes no such schedule is said by another rule; so is that it is given other costs than it has stages.
    if (microbatchesProblem(schedule, mesh.pp, microbatches) !== undefined) return undefined
    if ((schedule.costs?.stages.length ?? mesh.pp * schedule.chunks) !== mesh.pp * schedule.chunks) return undefined
    const problem = vocabularyProblem(schedule, mesh.pp, microbatches)
    if (problem === undefined) return undefined
    return {
      fields: ['schedule.vocabulary', 'schedule.name', 'mesh.pp'],
      what: `schedule.vocabulary "sharded" with schedule ${schedule.name} on mesh.pp ${mesh.pp}: ${problem}`,
      todo: 'take schedule 1f1b, zb-h1 or 2bp, which go with it on any mesh.pp, or leave schedule.vocabulary out',
    }
  },

  function slicesWithinContext({ schedule, model }) {
    if (schedule === undefined || model.kind !== 'gpt2' || schedule.slices <= model.context) return undefined
    return {
      fields: ['schedule.slices', 'model.context'],
      what: `schedule.slices ${schedule.slices} are more than the ${model.context} tokens of model.context`,
      todo: `take at most schedule.slices ${model.context}`,
    }
  },

  function microbatchesSuitSchedule({ schedule, mesh, batch }) {
    const microbatches = batch.global / (mesh.dp * batch.micro)
    // That the batch does not divide is said by another rule.
    if (schedule === undefined || mesh.pp === 1 || !Number.isInteger(microbatches)) return undefined
    const problem = microbatchesProblem(schedule, mesh.pp, microbatches)
    if (problem === undefined) return undefined
    const enough = nextMicrobatches(schedule, mesh.pp, microbatches)
    const advice = enough === undefined ? '' : `, as with batch.global ${enough * mesh.dp * batch.micro}`
    return {
      fields: ['schedule', 'mesh', 'batch'],
      what:
        `schedule ${schedule.name} (chunks ${schedule.chunks}, slices ${schedule.slices}) does not run on mesh.pp ${mesh.pp} ` +
        `with ${microbatches} microbatches a replica (batch.global ${batch.global} / (mesh.dp ${mesh.dp} × batch.micro ${batch.micro}))`,
      todo: `${problem}${advice}, or take another schedule`,
    }
  },

  function evaluationHasMicrobatch({ eval: { samples }, batch, mesh }) {
    if (mesh.pp === 1 || samples >= batch.micro) return undefined
    return {
      fields: ['eval.samples', 'batch.micro', 'mesh.pp'],
      what: `eval.samples ${samples} is below batch.micro ${batch.micro} with mesh.pp ${mesh.pp}`,
      todo: `a pipeline evaluates whole microbatches: take at least eval.samples ${batch.micro}, or lower batch.micro`,
    }
  },

  function replicasTakeEqualShares({ batch, mesh }) {
    if (batch.shares === 'equal' || mesh.pp === 1) return undefined
    return {
      fields: ['batch.shares', 'mesh.pp'],
      what: `batch.shares "${batch.shares}" with mesh.pp ${mesh.pp}`,
      todo: 'every replica runs the same schedule with as many microbatches: leave batch.shares out',
    }
  },

  function elasticHoldsReplica({ elastic, mesh }) {
    const { min, max = Number.POSITIVE_INFINITY } = elastic ?? {}
    if (min === undefined || min > max || mesh.pp === 1 || min >= mesh.pp) return undefined
    return {
      fields: ['elastic.min', 'mesh.pp'],
      what: `elastic.min ${min} is below mesh.pp ${mesh.pp}`,
      todo: `fewer workers than mesh.pp hold no whole model: take at least elastic.min ${mesh.pp}`,
    }
  },

  function mirrorHasNeighbours({ elastic, mesh }) {
    if (elastic?.mirror === undefined || mesh.pp > 1) return undefined
    return {
      fields: ['elastic.mirror', 'mesh.pp'],
      what: `elastic.mirror with mesh.pp ${mesh.pp}`,
      todo:
        mesh.dp === 1
          ? 'a single worker has no neighbour who could keep a copy: leave elastic.mirror out, and rely on checkpoint.every'
          : 'every worker has the whole model, so whoever is left is a copy: leave elastic.mirror out',
    }
  },

  function mirrorWithinSteps({ elastic, steps, sources }) {
    const every = elastic?.mirror?.every
    if (every === undefined || every < steps || sources['steps'] !== 'job') return undefined
    return {
      fields: ['elastic.mirror.every', 'steps'],
      what: `elastic.mirror.every ${every} is not below steps ${steps}`,
      todo: 'the run would end before the first one: lower elastic.mirror.every, or leave elastic.mirror out',
    }
  },
]

/** The most workers or, where not even two would do, the most stages a worker with which every stage has a unit. */
function fewerStages({ schedule, mesh, batch }: ResolvedJob, units: number): string | undefined {
  if (schedule === undefined) return undefined
  const parts = Math.floor(units / schedule.chunks)
  if (parts >= 2) return `mesh.pp ${parts}`
  const chunks = Math.floor(units / mesh.pp)
  const microbatches = batch.global / (mesh.dp * batch.micro)
  const isPossible = chunks >= 1 && microbatchesProblem({ ...schedule, chunks }, mesh.pp, microbatches) === undefined
  return isPossible ? `schedule.chunks ${chunks}` : undefined
}

/** Pieces in which a model can be cut, for models of which that is known. */
function unitsOf({ model }: Pick<ResolvedJob, 'model'>): number | undefined {
  return model.kind === 'gpt2' ? model.layers + 2 : undefined
}
