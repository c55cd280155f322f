/** That a tensor is a run of the rows (entries of the first dim) of a larger one: those from `start` on, of `of`. */
export interface TensorRows {
  readonly start: number
  readonly of: number
}

/** A tensor by name: a view that its owner lends for the call. `data` has as many elements as `shape` says, row major. */
export interface NamedTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly data: Float32Array | Int32Array
  /** Absent: it is whole. */
  readonly rows?: TensorRows
}

/** The bytes of any typed array, without a copy. */
export function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}
