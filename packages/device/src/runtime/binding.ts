/** One input or output tensor of the addon. Its id lives until `deleteTensor`; ids are never reused within a process. */
export interface TensorHandle {
  readonly id: number
  readonly shape: readonly number[]
  /** TensorFlow's number: 1 float32, 3 int32, 4 uint8, 10 bool, 14 bfloat16. */
  readonly dtype: number
}

export interface OpAttribute {
  readonly name: string
  /** One of the binding's `TF_ATTR_*`. */
  readonly type: number
  readonly value: boolean | number | string | readonly number[]
}

/** The native addon of tfjs-node. Every call blocks its thread until the kernel has run. */
export interface TensorFlowBinding {
  /** A tensor over `data`. Shares the memory when it is 64-byte aligned (then it must stay unchanged until the tensor is deleted), copies it otherwise. */
  createTensor(shape: readonly number[], dtype: number, data: Float32Array | Int32Array | Uint8Array | null): number
  deleteTensor(id: number): void
  /** A copy of the tensor's values; int32 and uint8 keep their type, bfloat16 is refused. */
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array
  executeOp(
    op: string,
    attributes: readonly OpAttribute[],
    inputs: readonly number[],
    numOutputs: number,
  ): TensorHandle[]
  loadSavedModel(folder: string, tags: string): number
  deleteSavedModel(id: number): void
  /** Feeds `inputs` under the comma-separated names and fetches the comma-separated outputs; tensors pass without a copy. */
  runSavedModel(id: number, inputs: readonly number[], inputNames: string, outputNames: string): TensorHandle[]
  getNumOfSavedModels(): number
  getNumOfTensors(): number
  isUsingGpuDevice(): boolean
  readonly TF_Version: string
  readonly TF_FLOAT: number
  readonly TF_INT32: number
  readonly TF_INT64: number
  readonly TF_BOOL: number
  readonly TF_COMPLEX64: number
  readonly TF_STRING: number
  readonly TF_RESOURCE: number
  readonly TF_UINT8: number
  readonly TF_ATTR_STRING: number
  readonly TF_ATTR_INT: number
  readonly TF_ATTR_FLOAT: number
  readonly TF_ATTR_BOOL: number
  readonly TF_ATTR_TYPE: number
  readonly TF_ATTR_SHAPE: number
}
