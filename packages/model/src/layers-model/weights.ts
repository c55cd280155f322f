import { SkeinError } from '@skein/core'
import type { Tfjs } from '@skein/device'
import { ModelErrors } from '../errors.ts'
import type { FlatLayout } from '../flat-layout.ts'

/** Between the flat buffers and the weights of a tf.LayersModel or of its layers. */

type Tensor = InstanceType<Tfjs['Tensor']>
type TfModel = InstanceType<Tfjs['LayersModel']>
export type Variable = InstanceType<Tfjs['Variable']>
export type TfLayer = TfModel['layers'][number]
export type Weight = TfModel['weights'][number]

/** A LayerVariable is a tf.Variable's owner; tfjs keeps it in the field `val`. */
export const variableOf = (weight: Weight): Variable => (weight as unknown as { val: Variable }).val

/**
 * Weights by their names as the model has them. tfjs numbers what it names itself by all that the process has made before: variables, whose
 * numbers are left out, and layers, which are counted anew in each model. So a model has the same names however often it was built. A name
 * that comes again, from models within models, gets a number.
 */
export function weightsByName(weights: readonly Weight[]): Map<string, Weight> {
  const byName = new Map<string, Weight>()
  const counted = layerCounter()
  for (const weight of weights) {
    const own = counted(weight.originalName)
    let name = own
    for (let again = 2; byName.has(name); again++) name = `${own}#${again}`
    byName.set(name, weight)
  }
  return byName
}

/** Gives layers that tfjs has named ("dense_Dense7/kernel": kind, class, number) the number that they have among those of their class. */
function layerCounter(): (weightName: string) => string {
  const numbers = new Map<string, number>()
  const counts = new Map<string, number>()
  return weightName => {
    const [, kind = '', name = '', number = ''] = /^(\w+)_([A-Z]\w*?)(\d+)(?=\/)/u.exec(weightName) ?? []
    if (name === '' || kind.replaceAll('_', '') !== name.toLowerCase()) return weightName
    const layer = `${kind}_${name}`
    const known = numbers.get(layer + number)
    const count = known ?? (counts.get(layer) ?? 0) + 1
    if (known === undefined) {
      numbers.set(layer + number, count)
      counts.set(layer, count)
    }
    return `${layer}${count}${weightName.slice(layer.length + number.length)}`
  }
}

/** @throws SKEIN_MODEL_NO_WEIGHTS, SKEIN_MODEL_UNTRAINED_STATE, SKEIN_MODEL_CONSTRAINT */
export function checkWeights(model: TfModel): void {
  if (model.trainableWeights.length === 0) {
    throw new SkeinError(ModelErrors.NO_WEIGHTS, {
      what: `the model ${model.name} has no trainable weights`,
      todo: 'add a layer with weights, or make one trainable',
    })
  }
  if (model.nonTrainableWeights.length > 0) {
    const names = model.nonTrainableWeights.map(weight => weight.name)
    throw new SkeinError(ModelErrors.UNTRAINED_STATE, {
      what: `the model ${model.name} has weights that are not trained by gradients: ${names.join(', ')}`,
      why: 'layers such as batch normalisation update them by themselves, so they would differ between workers',
      todo: 'use layer or group normalisation, or make the layer trainable',
      details: { names },
    })
  }
  const constrained = model.trainableWeights.filter(isConstrained).map(weight => weight.name)
  if (constrained.length > 0) {
    throw new SkeinError(ModelErrors.CONSTRAINT, {
      what: `the model ${model.name} has weights with a constraint: ${constrained.join(', ')}`,
      why: 'tfjs applies it after each update of its own, and these updates are made elsewhere, on flat buffers',
      todo: 'leave the constraint out; a regulariser keeps weights small, an activation (softplus) of a weight keeps it positive',
      details: { names: constrained },
    })
  }
}

/** A LayerVariable has it in a field that the model's types leave out. */
const isConstrained = (weight: Weight): boolean =>
  Boolean((weight as unknown as { readonly constraint?: object | null }).constraint)

export class FlatWeights {
  readonly #tf: Tfjs
  readonly #layout: FlatLayout
  readonly #variables: ReadonlyMap<string, Variable>

  /** `weights` have their places in `layout`, which may have others. */
  constructor(tf: Tfjs, layout: FlatLayout, weights: ReadonlyMap<string, Weight>) {
    this.#tf = tf
    this.#layout = layout
    this.#variables = new Map([...weights].map(([name, weight]) => [name, variableOf(weight)]))
  }

  get variables(): Variable[] {
    return [...this.#variables.values()]
  }

  get names(): string[] {
    return [...this.#variables.keys()]
  }

  /** The values that the variables have. */
  copyTo(params: Float32Array): void {
    for (const [variable, { offset }] of this.#places()) params.set(variable.dataSync(), offset)
  }

  assign(params: Float32Array): void {
    const tf = this.#tf
    tf.tidy(() => {
      for (const [variable, { offset, elems, shape }] of this.#places()) {
        variable.assign(tf.tensor(params.slice(offset, offset + elems), [...shape]))
      }
    })
  }

  /** Stores or adds gradients, given by the weights' names; a weight that has none gets zeros. */
  readGradients(byName: Readonly<Record<string, Tensor>>, gradients: Float32Array, accumulate: boolean): void {
    for (const [, { name, offset, elems }] of this.#places()) {
      const values = byName[name]?.dataSync()
      for (let i = 0; i < elems; i++) {
        const before = accumulate ? (gradients[offset + i] as number) : 0
        gradients[offset + i] = before + (values?.[i] ?? 0)
      }
    }
  }

  dispose(): void {
    for (const variable of this.#variables.values()) if (!variable.isDisposed) variable.dispose()
  }

  *#places() {
    for (const place of this.#layout.tensors) {
      const variable = this.#variables.get(place.name)
      if (variable !== undefined) yield [variable, place] as const
    }
  }
}
