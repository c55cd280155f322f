import { numElements, type Shape, SkeinError } from '@skein/core'
import {
  type DeviceTensor,
  type KernelDevice,
  type Kernels,
  type KernelTensor,
  type Pass,
  releaseAll,
  type TensorSpec,
} from '@skein/device'
import { copyToDevice, DeviceStageTensor, takeToDevice } from '../device-stage-tensor.ts'
import { ModelErrors } from '../errors.ts'
import { type FlatLayout, placeOf } from '../flat-layout.ts'
import { KeptTensors } from '../kept-tensors.ts'
import {
  addToWords,
  embeddingShardForward,
  headShardForward,
  headShardInputGrad,
  headShardWeightGrad,
  lossSumOfRows,
  mergeRows,
  placesInLogits,
  type RowStatistics,
  type TokensOfShard,
  tokensOfShard,
  type VocabShard,
  wholeRows,
} from '../layers/sharded-vocab.ts'
import { LossTally } from '../loss-tally.ts'
import type { StageStep, StageTensor, VocabularyPart } from '../pipeline-stage.ts'
import type { LossSum } from '../trainable-model.ts'
import { checkTokens } from './check-batch.ts'
import { type Gpt2Config, names } from './config.ts'
import { readGradients, uploadParams } from './flat-tensors.ts'

type Tensors = Readonly<Record<string, DeviceTensor>>
type PassFn = <T extends KernelTensor>(k: Kernels<T>, x: Readonly<Record<string, T>>) => Record<string, T>
type PassName = 'lookUp' | 'logits' | 'inputGrad' | 'weightGrad'

/** What S finds of each row, in this order. */
const found = ['max', 'sum', 'target'] as const

export interface Gpt2VocabularyOptions {
  readonly device: KernelDevice
  readonly layout: FlatLayout
  readonly config: Gpt2Config
  /** Of each microbatch. */
  readonly samples: number
  readonly shard: VocabShard
}

/** A rank's rows of a GPT-2's token embedding, for look-up and logits. Passes are compiled at their first use. */
export class Gpt2Vocabulary implements VocabularyPart {
  readonly elems: number
  readonly foundElems: number
  readonly #options: Gpt2VocabularyOptions
  /** Of a microbatch. */
  readonly #rows: number
  readonly #passes = new Map<PassName, Pass>()
  /** By microbatch what lies between S and T. */
  readonly #kept = new Map<number, KeptTensors<DeviceTensor>>()
  readonly #losses = new LossTally()
  #step: StageStep | undefined
  #params: Tensors | undefined

  constructor(options: Gpt2VocabularyOptions) {
    this.#options = options
    this.#rows = options.samples * options.config.context
    this.elems = numElements(this.#boundary)
    this.foundElems = found.length * this.#rows
  }

  fromValues(values: Float32Array): StageTensor {
    return copyToDevice(this.#options.device, values, this.#boundary)
  }

  begin(step: StageStep): void {
    this.#dropParams()
    this.#losses.clear()
    this.#step = step
  }

  lookUp(microbatch: number): StageTensor {
    const tokens = this.#onDevice(this.#tokens(microbatch, 'inputs'))
    try {
      return new DeviceStageTensor(this.#run('lookUp', { ...this.#wte(), ...tokens })['x'] as DeviceTensor)
    } finally {
      releaseAll(tokens)
    }
  }

  logits(microbatch: number, y: StageTensor, out: Float32Array, keeps: 'activations' | 'nothing'): void {
    const { device } = this.#options
    if (this.#kept.has(microbatch)) throw this.#order('logits', microbatch, 'it has them')
    const kept = new KeptTensors<DeviceTensor>(device)
    kept.add({ y: takeToDevice(device, y, this.#boundary) })
    try {
      const targets = this.#tokens(microbatch, 'targets')
      const places = placesInLogits(targets, this.#options.shard)
      kept.add({ ...this.#onDevice(targets), places: device.upload(places, [places.length]) })
      const made = this.#run('logits', { ...this.#wte(), ...kept.byName })
      kept.add(made)
      for (const [i, name] of found.entries()) {
        device.readInto(made[name] as DeviceTensor, out.subarray(i * this.#rows, (i + 1) * this.#rows), false)
      }
      if (keeps === 'nothing') return kept.release()
      kept.keepOnly(new Set(['y', 'max', 'exps', 'pull', 'targetRow']))
      this.#kept.set(microbatch, kept)
    } catch (cause) {
      kept.release()
      throw cause
    }
  }

  addLoss(microbatch: number, foundByAll: Float32Array): void {
    const loss = lossSumOfRows(this.#merged(foundByAll), this.#options.config.context)
    this.#losses.add({ microbatch, slice: 0 }, loss)
  }

  inputGrad(microbatch: number, foundByAll: Float32Array): StageTensor {
    const { device } = this.#options
    const kept = this.#keptOf('inputGrad', microbatch)
    const { max, inverseSum } = wholeRows(this.#merged(foundByAll))
    const column = (values: Float32Array) => device.upload(values, [this.#rows, 1])
    kept.add({ wholeMax: column(max), inverseSum: column(inverseSum) })
    const { dy } = this.#run('inputGrad', kept.byName)
    kept.keepOnly(new Set(['y', 'max', 'exps', 'wholeMax', 'inverseSum']))
    return new DeviceStageTensor(dy as DeviceTensor)
  }

  weightGrad(microbatch: number): void {
    const { device, layout, config } = this.#options
    const kept = this.#keptOf('weightGrad', microbatch)
    readGradients(device, layout, this.#run('weightGrad', kept.byName), this.#begun().gradients, () => true)
    const y = device.read(kept.byName['y'] as DeviceTensor) as Float32Array
    addToWords(this.#gradient(), y, this.#tokens(microbatch, 'targets'), -1 / config.context)
    kept.release()
    this.#kept.delete(microbatch)
  }

  lookUpGrad(microbatch: number, dx: StageTensor): void {
    try {
      const values = new Float32Array(dx.elems)
      dx.copyTo(values)
      addToWords(this.#gradient(), values, this.#tokens(microbatch, 'inputs'), 1)
    } finally {
      dx.release()
    }
  }

  loss(): LossSum {
    return this.#losses.sum(this.#options.samples)
  }

  heldBytes(): number {
    return [...this.#kept.values()].reduce((sum, kept) => sum + kept.bytes(), 0)
  }

  reset(): void {
    for (const kept of this.#kept.values()) kept.release()
    this.#kept.clear()
    this.#losses.clear()
    this.#dropParams()
  }

  dispose(): void {
    this.reset()
    for (const pass of this.#passes.values()) pass.dispose()
    this.#passes.clear()
    this.#step = undefined
  }

  /** [N,D] */
  get #boundary(): Shape {
    return [this.#rows, this.#options.config.width]
  }

  #passFn(name: PassName): PassFn {
    const { config } = this.#options
    const passes: Readonly<Record<PassName, PassFn>> = {
      lookUp: (k, x) => ({ x: embeddingShardForward(k, tokensIn(x), of(x, names.wte)) }),
      logits: (k, x) => ({
        ...headShardForward(k, of(x, 'y'), { ...tokensIn(x), places: of(x, 'places') }, of(x, names.wte)),
      }),
      inputGrad: (k, x) => {
        const mine = { max: of(x, 'max'), pull: of(x, 'pull'), targetRow: of(x, 'targetRow') }
        return { dy: headShardInputGrad(k, mine, wholeIn(x), config.context) }
      },
      weightGrad: (k, x) => {
        const mine = { max: of(x, 'max'), exps: of(x, 'exps') }
        return { [grad]: headShardWeightGrad(k, of(x, 'y'), mine, wholeIn(x), config.context) }
      },
    }
    return passes[name]
  }

  #run(name: PassName, tensors: Tensors): Tensors {
    let pass = this.#passes.get(name)
    if (pass === undefined) {
      const specs: Record<string, TensorSpec> = {}
      for (const [input, { shape, dtype }] of Object.entries(tensors)) specs[input] = { shape, dtype }
      const fn = this.#passFn(name)
      pass = this.#options.device.compile(`vocabulary ${name}`, specs, (k, inputs) => fn(k, inputs))
      this.#passes.set(name, pass)
    }
    return pass.run(tensors)
  }

  /** Uploaded at its first use in a step. */
  #wte(): Tensors {
    const { device, layout } = this.#options
    this.#params ??= uploadParams(device, layout, [names.wte], this.#begun().params)
    return this.#params
  }

  #dropParams(): void {
    if (this.#params !== undefined) releaseAll(this.#params)
    this.#params = undefined
  }

  /** Of the rows here, summed over microbatches. */
  #gradient(): Float32Array {
    const { offset, elems } = placeOf(this.#options.layout, names.wte)
    return this.#begun().gradients.subarray(offset, offset + elems)
  }

  #tokens(microbatch: number, array: 'inputs' | 'targets'): TokensOfShard {
    const { samples, shard, config } = this.#options
    const batch = this.#begun().batch(microbatch)
    checkTokens({ ...batch, samples }, [array], config.context)
    return tokensOfShard(batch.arrays[array]?.data as Int32Array, shard)
  }

  #onDevice({ ids, mask }: TokensOfShard): Tensors {
    const { device } = this.#options
    return { ids: device.upload(ids, [ids.length]), mask: device.upload(mask, [mask.length, 1]) }
  }

  #merged(foundByAll: Float32Array): RowStatistics {
    const parts = Array.from({ length: foundByAll.length / this.foundElems }, (_, part) => {
      const at = (i: number) =>
        foundByAll.slice(part * this.foundElems + i * this.#rows, part * this.foundElems + (i + 1) * this.#rows)
      return { max: at(0), sum: at(1), target: at(2) }
    })
    return mergeRows(parts)
  }

  #keptOf(pass: string, microbatch: number): KeptTensors<DeviceTensor> {
    const kept = this.#kept.get(microbatch)
    if (kept === undefined) throw this.#order(pass, microbatch, 'there are no logits of it')
    return kept
  }

  #begun(): StageStep {
    if (this.#step !== undefined) return this.#step
    throw this.#order('a pass', 0, 'no step has begun')
  }

  #order(pass: string, microbatch: number, why: string): SkeinError {
    return new SkeinError(ModelErrors.STAGE_ORDER, {
      what: `the vocabulary was asked for ${pass} of microbatch ${microbatch}, and ${why}`,
      todo: 'run the ops of a schedule in its order',
      details: { pass, microbatch },
    })
  }
}

const grad = `grad/${names.wte}`
const of = <T>(tensors: Readonly<Record<string, T>>, name: string) => tensors[name] as T
const tokensIn = <T>(x: Readonly<Record<string, T>>) => ({ ids: of(x, 'ids'), mask: of(x, 'mask') })
const wholeIn = <T>(x: Readonly<Record<string, T>>) => ({ max: of(x, 'wholeMax'), inverseSum: of(x, 'inverseSum') })
