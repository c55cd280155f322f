import type { Shape } from '@skein/core'
import type { OpAttribute, TensorFlowBinding } from '../runtime/binding.ts'
import { ConstantCache } from './constant-cache.ts'
import type { NodeAttribute } from './graph-def.ts'
import type { KernelTensor } from './kernels.ts'
import type { OpEmitter } from './tensorflow-kernels.ts'

/** A tensor of the running pass: the addon's id. */
export interface RawTensor extends KernelTensor {
  readonly id: number
}

export interface EagerEmitter extends OpEmitter<RawTensor> {
  /** Runs a pass; frees all that it made but its results. */
  scope(fn: () => Readonly<Record<string, RawTensor>>): Readonly<Record<string, RawTensor>>
  dispose(): void
}

/** Runs each op at once through the addon. Constants live until `dispose`, all else until the end of its scope. */
export function eagerEmitter(
  binding: TensorFlowBinding,
  upload: (data: Float32Array | Int32Array, shape: Shape) => number,
): EagerEmitter {
  const attributesOf = new WeakMap<readonly NodeAttribute[], readonly OpAttribute[]>()
  const constants = new ConstantCache<RawTensor>((data, shape) => ({
    id: upload(data, shape),
    shape,
    dtype: data instanceof Float32Array ? 'float32' : 'int32',
  }))
  const attributeTypes = {
    type: binding.TF_ATTR_TYPE,
    bool: binding.TF_ATTR_BOOL,
    int: binding.TF_ATTR_INT,
    float: binding.TF_ATTR_FLOAT,
    shape: binding.TF_ATTR_SHAPE,
  }
  let live: number[] = []

  const scoped = <R>(fn: () => R): R => {
    const outer = live
    live = []
    try {
      const result = fn()
      const kept = new Set<number>()
      collectIds(result, kept)
      for (const id of live) {
        if (kept.has(id)) outer.push(id)
        else binding.deleteTensor(id)
      }
      live = []
      return result
    } finally {
      for (const id of live) binding.deleteTensor(id)
      live = outer
    }
  }

  return {
    op(name, inputs, attributes, outputs) {
      let converted = attributesOf.get(attributes)
      if (converted === undefined) {
        converted = attributes.map(a => ({ name: a.name, type: attributeTypes[a.kind], value: a.value }))
        attributesOf.set(attributes, converted)
      }
      const results = binding.executeOp(
        name,
        converted,
        inputs.map(input => input.id),
        outputs.length,
      )
      return results.map(({ id }, i) => {
        live.push(id)
        const { shape, dtype } = outputs[i] as KernelTensor
        return { id, shape, dtype }
      })
    },
    constant: (data, shape) => constants.get(data, shape),
    scoped,
    scope(fn) {
      const outer = live
      live = []
      try {
        return scoped(fn)
      } finally {
        live = outer
      }
    },
    dispose() {
      for (const { id } of constants.all()) binding.deleteTensor(id)
      constants.clear()
    },
  }
}

/** Ids of the tensors in any nesting of objects and arrays. */
function collectIds(value: unknown, ids: Set<number>): void {
  if (value === null || typeof value !== 'object') return
  const { id } = value as { id?: unknown }
  if (typeof id === 'number') ids.add(id)
  else for (const part of Object.values(value)) collectIds(part, ids)
}
