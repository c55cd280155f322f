/** What a worker's device can be, best first. */
export const deviceKinds = ['tensorflow-cuda', 'tensorflow-cpu', 'wasm', 'cpu'] as const
export type DeviceKind = (typeof deviceKinds)[number]

/** How many threads TensorFlow may use. Read once, at the first load of the binding in a process. */
export interface ThreadOptions {
  /** Threads inside one kernel; at least 1. Default: TensorFlow's own, one per core. */
  readonly intraOp?: number
  /** Kernels that may run at the same time; at least 1. Default: TensorFlow's own, one per core. */
  readonly interOp?: number
}

/** A wheel that holds libtensorflow. Pinned with its hash: whatever index serves it, these are the bytes. */
export interface WheelPin {
  /** Name on the package index. */
  readonly name: string
  readonly version: string
  /** Extra of the wheel whose `nvidia-*` requirements are fetched too; none for a CPU device. */
  readonly extra?: string
  /** What pip selects by, whatever Python runs it: no Python is needed at run time. */
  readonly pythonVersion: string
  readonly platform: string
  /** Which the packages of the extra may be of as well: pip takes the tags by the letter. */
  readonly extraPlatforms?: readonly string[]
  /** Of the wheel file. Absent where it was never seen by us; pip then checks against the index only. */
  readonly sha256?: string
  /** Bytes of the wheel file, for progress. */
  readonly bytes?: number
}

export const cpuWheel: WheelPin = {
  name: 'tensorflow-cpu',
  version: '2.21.0',
  pythonVersion: '3.11',
  platform: 'manylinux_2_27_x86_64',
  sha256: '2b847d217b02ee7731ed91431daf3250daa0196c3c94614d23be27232e6e5b6c',
  bytes: 273_829_956,
}

/** Never run by us: no machine with an NVIDIA device was at hand (see README.md). */
export const cudaWheel: WheelPin = {
  name: 'tensorflow',
  version: '2.21.0',
  extra: 'and-cuda',
  pythonVersion: '3.11',
  platform: 'manylinux_2_27_x86_64',
  extraPlatforms: ['manylinux_2_17_x86_64', 'manylinux2014_x86_64', 'manylinux1_x86_64'],
}

/** Version of Node-API that the addon is compiled for; every supported Node has it. */
export const napiVersion = 8

/** Oldest glibc that the wheel's libraries run on (manylinux_2_27). */
export const minimumGlibc = '2.27'

/** Bytes on disk of a finished runtime and, while it is being built, of the wheel beside it. */
export const runtimeDiskBytes = 860_000_000
export const setupDiskBytes = runtimeDiskBytes + 280_000_000
