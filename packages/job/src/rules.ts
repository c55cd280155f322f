import { SkeinError } from '@skein/core'
import { JobErrors } from './errors.ts'
import { workersOf } from './mesh.ts'
import type { ResolvedJob } from './job-types.ts'
import { pipelineRules } from './pipeline-rules.ts'

/** A rule between values that does not hold: what is wrong, naming all, and what to do. */
export interface Conflict {
  readonly fields: readonly [string, string, ...string[]]
  readonly what: string
  readonly todo: string
}

/** @throws SKEIN_JOB_CONFLICT naming the fields of every rule that does not hold, with their values */
export function checkRules(job: ResolvedJob, where: string): void {
  const conflicts = rules.flatMap(rule => rule(job) ?? [])
  const first = conflicts[0]
  if (first === undefined) return
  throw new SkeinError(JobErrors.CONFLICT, {
    what: `${where} has values that do not go together: ${conflicts.map(conflict => conflict.what).join('; ')}`,
    todo: conflicts.map(conflict => conflict.todo).join('; '),
    details: { where, fields: conflicts.flatMap(conflict => conflict.fields) },
  })
}

export type Rule = (job: ResolvedJob) => Conflict | undefined

const rules: readonly Rule[] = [
  function headsDivideWidth({ model }) {
    if (model.kind !== 'gpt2' || model.width % model.heads === 0) return undefined
    const near = divisorsOf(model.width).filter(heads => heads <= model.heads)
    return {
      fields: ['model.width', 'model.heads'],
      what: `model.width ${model.width} is not divisible by model.heads ${model.heads}`,
      todo: `each head takes an equal share of the width: take model.heads ${near.at(-1)} or model.width ${Math.ceil(model.width / model.heads) * model.heads}`,
    }
  },

  function batchFitsMesh({ batch, mesh, sources }) {
    const unit = mesh.dp * batch.micro
    if (batch.global % unit === 0) return undefined
    const name = sources['mesh.dp'] === 'flag' ? 'mesh.dp (--workers)' : 'mesh.dp'
    const choices: string[] = []
    const workers = divisorsOf(batch.global).findLast(dp => dp <= mesh.dp && batch.global % (dp * batch.micro) === 0)
    if (batch.global % mesh.dp === 0) {
      const share = batch.global / mesh.dp
      choices.push(`batch.micro ${divisorsOf(share).findLast(micro => micro <= batch.micro)}`)
    }
    if (workers !== undefined) choices.push(mesh.pp === 1 ? `${workers} workers` : `mesh.dp ${workers}`)
    choices.push(`batch.global ${Math.ceil(batch.global / unit) * unit}`)
    return {
      fields: ['batch.global', 'mesh.dp', 'batch.micro'],
      what: `batch.global ${batch.global} is not divisible by ${name} ${mesh.dp} × batch.micro ${batch.micro} = ${unit}`,
      todo: `every ${mesh.pp === 1 ? 'worker' : 'replica'} takes the same number of whole microbatches: take ${choices.join(' or ')}`,
    }
  },

  function dataFitsContext({ data, model }) {
    if (model.kind !== 'gpt2' || data.kind === 'custom' || data.context === model.context) return undefined
    return {
      fields: ['data.context', 'model.context'],
      what: `data.context ${data.context} is not model.context ${model.context}`,
      todo: 'leave data.context out: samples are cut to the context of the model',
    }
  },

  function warmupWithinSteps({ optimizer, steps }) {
    if (optimizer.warmupSteps < steps || optimizer.warmupSteps === 0) return undefined
    return {
      fields: ['optimizer.warmupSteps', 'steps'],
      what: `optimizer.warmupSteps ${optimizer.warmupSteps} is not below steps ${steps}`,
      todo: 'the learning rate would never reach its peak: lower optimizer.warmupSteps (or leave it out), or raise steps',
    }
  },

  function minLrBelowLr({ optimizer }) {
    if (optimizer.minLr <= optimizer.lr) return undefined
    return {
      fields: ['optimizer.minLr', 'optimizer.lr'],
      what: `optimizer.minLr ${optimizer.minLr} is above optimizer.lr ${optimizer.lr}`,
      todo: 'lower optimizer.minLr (or leave it out)',
    }
  },

  function intervalWithinSteps({ eval: evaluation, checkpoint, steps, sources }) {
    // Steps or intervals given for one run only, or by default, may leave none in between: the end is measured and saved anyway.
    if (sources['steps'] !== 'job') return undefined
    const sections = { eval: evaluation, checkpoint }
    for (const name of ['eval', 'checkpoint'] as const) {
      const { every } = sections[name]
      if (sources[`${name}.every`] !== 'job' || every <= steps) continue
      return {
        fields: [`${name}.every`, 'steps'],
        what: `${name}.every ${every} is above steps ${steps}`,
        todo: `the run would end before the first one: lower ${name}.every, or set it to 0`,
      }
    }
    return undefined
  },

  function elasticHoldsMesh({ elastic, mesh }) {
    if (elastic === undefined) return undefined
    const { min = 1, max = Number.POSITIVE_INFINITY } = elastic
    if (min > max) {
      return {
        fields: ['elastic.min', 'elastic.max'],
        what: `elastic.min ${min} is above elastic.max ${max}`,
        todo: 'exchange them',
      }
    }
    const workers = workersOf(mesh)
    if (workers >= min && workers <= max) return undefined
    const name = mesh.pp === 1 ? `mesh.dp ${mesh.dp}` : `mesh.dp ${mesh.dp} × mesh.pp ${mesh.pp} = ${workers} workers`
    return {
      fields: mesh.pp === 1 ? ['mesh.dp', 'elastic.min', 'elastic.max'] : ['mesh', 'elastic.min', 'elastic.max'],
      what: `${name} is outside elastic.min ${min} … elastic.max ${max}`,
      todo: `the run starts with ${mesh.pp === 1 ? 'mesh.dp' : 'so many'} workers: choose it within the limits`,
    }
  },

  function precisionOfCodeModels({ model, precision }) {
    if (model.kind !== 'layers' || precision === 'f32') return undefined
    return {
      fields: ['precision', 'model'],
      what: `precision ${JSON.stringify(precision)} with a model of kind "layers"`,
      todo: 'tfjs computes such models in float32: leave precision out, or cast inside the model',
    }
  },

  ...pipelineRules,
]

/** In rising order. */
export function divisorsOf(n: number): number[] {
  const small: number[] = []
  const large: number[] = []
  for (let d = 1; d * d <= n; d++) {
    if (n % d !== 0) continue
    small.push(d)
    if (d * d !== n) large.unshift(n / d)
  }
  return [...small, ...large]
}
