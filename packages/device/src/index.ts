/**
 * The only owner of TensorFlow.js: its runtime, backends, kernels and memory ledger.
 *
 * @example
 * await setupRuntime({ onProgress: progressPrinter(process.stderr).report })
 * const binding = loadBinding({ threads: { intraOp: 1, interOp: 1 } })
 */
export {
  cpuWheel,
  cudaWheel,
  type DeviceKind,
  deviceKinds,
  type ThreadOptions,
  type WheelPin,
} from './config.ts'
export { DeviceErrors } from './errors.ts'
export { type OpenOptions, openTfjs } from './runtime/backends.ts'
export type { OpAttribute, TensorFlowBinding, TensorHandle } from './runtime/binding.ts'
export {
  type ChooseOptions,
  chooseDevice,
  type DeviceChoice,
  type DeviceFacts,
  decideDevice,
  type Refusal,
} from './runtime/choose-device.ts'
export { mallocEnvironment, setTensorFlowEnvironment } from './runtime/environment.ts'
export { type LoadOptions, loadBinding, loadTfjs, type Tfjs } from './runtime/load.ts'
export { type InspectOptions, inspectMachine, type MachineFacts } from './runtime/machine.ts'
export { type RuntimePlaces, runtimePlaces, userCacheDir } from './runtime/places.ts'
export { type ProgressPrinter, type ProgressSink, progressLine, progressPrinter } from './runtime/print-progress.ts'
export type { SetupProgress, SetupStage } from './runtime/progress.ts'
export { type SetupOptions, type SetupResult, setupBestRuntime, setupRuntime } from './runtime/setup.ts'
export type { Fact } from './runtime/tools.ts'
export {
  type DeviceTensor,
  type KernelDevice,
  type KernelsKind,
  type Pass,
  type PassFunction,
  releaseAll,
  type TensorSpec,
} from './kernels/kernel-device.ts'
export type { KernelDType, Kernels, KernelTensor, Precision, ProductOptions } from './kernels/kernels.ts'
export {
  defaultKernels,
  type OpenKernelDeviceOptions,
  openKernelDevice,
} from './kernels/open-kernel-device.ts'
export { createPortableDevice } from './kernels/portable-device.ts'
export { type TracedNode, type TracedPass, traceGraph } from './kernels/trace-graph.ts'
export { createTensorFlowDevice, type TensorFlowDeviceOptions } from './kernels/tensorflow-device.ts'
export { type LedgerReading, MemoryLedger } from './memory-ledger.ts'
