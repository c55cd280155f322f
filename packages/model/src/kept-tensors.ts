import { numElements, type Shape } from '@skein/core'

/** Where tensors live: a kernel device, or tfjs. `upload` may share `values`, which nobody changes. */
export interface TensorHolder<T> {
  upload(values: Float32Array | Int32Array, shape: Shape): T
  read(tensor: T): Float32Array | Int32Array
  retain(tensor: T): T
  release(tensor: T): void
}

interface OnHost {
  /** Several where passes gave one tensor several names. */
  readonly names: readonly string[]
  readonly values: Float32Array | Int32Array
  readonly shape: Shape
}

/** float32 and int32 alike. */
const bytesOf = (shape: Shape) => numElements(shape) * 4

/** What a piece keeps between its passes: tensors by name, on the device, or for a while on the host. */
export class KeptTensors<T extends { readonly shape: Shape }> {
  readonly #device: TensorHolder<T>
  #tensors: Record<string, T> = {}
  #onHost: OnHost[] = []
  /** Also where there was nothing to move: a stage that only adds positions keeps nothing. */
  #isOffloaded = false

  constructor(device: TensorHolder<T>) {
    this.#device = device
  }

  /** All that are on the device. */
  get byName(): Readonly<Record<string, T>> {
    return this.#tensors
  }

  get isOffloaded(): boolean {
    return this.#isOffloaded
  }

  /** Takes the ownership of these over. */
  add(tensors: Readonly<Record<string, T>>): void {
    Object.assign(this.#tensors, tensors)
  }

  /** Releases all others. */
  keepOnly(names: ReadonlySet<string>): void {
    for (const [name, tensor] of Object.entries(this.#tensors)) {
      if (names.has(name)) continue
      this.#device.release(tensor)
      delete this.#tensors[name]
    }
  }

  /** On the device. */
  bytes(): number {
    return [...this.#namesByTensor().keys()].reduce((sum, { shape }) => sum + bytesOf(shape), 0)
  }

  /** Moves whole tensors to the host, the largest first, until `share` of the bytes has gone. */
  offload(share: number): void {
    this.#isOffloaded = true
    let left = share * this.bytes()
    const largestFirst = [...this.#namesByTensor()].sort(([a], [b]) => bytesOf(b.shape) - bytesOf(a.shape))
    for (const [tensor, names] of largestFirst) {
      if (left <= 0) return
      left -= bytesOf(tensor.shape)
      this.#onHost.push({ names, values: this.#device.read(tensor), shape: tensor.shape })
      for (const name of names) {
        this.#device.release(tensor)
        delete this.#tensors[name]
      }
    }
  }

  reload(): void {
    for (const { names, values, shape } of this.#onHost) {
      const tensor = this.#device.upload(values, shape)
      for (const [i, name] of names.entries()) this.#tensors[name] = i === 0 ? tensor : this.#device.retain(tensor)
    }
    this.#onHost = []
    this.#isOffloaded = false
  }

  release(): void {
    for (const tensor of Object.values(this.#tensors)) this.#device.release(tensor)
    this.#tensors = {}
    this.#onHost = []
    this.#isOffloaded = false
  }

  #namesByTensor(): Map<T, string[]> {
    const names = new Map<T, string[]>()
    for (const [name, tensor] of Object.entries(this.#tensors)) {
      const known = names.get(tensor)
      if (known === undefined) names.set(tensor, [name])
      else known.push(name)
    }
    return names
  }
}
