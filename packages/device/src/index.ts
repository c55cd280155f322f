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
export type { OpAttribute, TensorFlowBinding, TensorHandle } from './runtime/binding.ts'
export { mallocEnvironment, setTensorFlowEnvironment } from './runtime/environment.ts'
export { type LoadOptions, loadBinding, loadTfjs } from './runtime/load.ts'
export { type RuntimePlaces, runtimePlaces, userCacheDir } from './runtime/places.ts'
export { type ProgressPrinter, type ProgressSink, progressLine, progressPrinter } from './runtime/print-progress.ts'
export type { SetupProgress, SetupStage } from './runtime/progress.ts'
export { type SetupOptions, type SetupResult, setupRuntime } from './runtime/setup.ts'
