import type { Shape } from '@skein/core'

/** Up to this many elements a constant is known again by its values, above by the identity of its array. */
const maxKeyedElems = 16

/** Makes each constant of a pass (or of a device) once. */
export class ConstantCache<T> {
  readonly #make: (data: Float32Array | Int32Array, shape: Shape) => T
  readonly #byValue = new Map<string, T>()
  readonly #byIdentity = new Map<object, T>()

  constructor(make: (data: Float32Array | Int32Array, shape: Shape) => T) {
    this.#make = make
  }

  get(data: Float32Array | Int32Array, shape: Shape): T {
    if (data.length > maxKeyedElems) return found(this.#byIdentity, data, () => this.#make(data, shape))
    const kind = data instanceof Float32Array ? 'f' : 'i'
    return found(this.#byValue, `${kind}${shape.join()}:${data.join()}`, () => this.#make(data, shape))
  }

  *all(): Iterable<T> {
    yield* this.#byValue.values()
    yield* this.#byIdentity.values()
  }

  clear(): void {
    this.#byValue.clear()
    this.#byIdentity.clear()
  }
}

function found<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key)
  if (value === undefined) map.set(key, (value = make()))
  return value
}
