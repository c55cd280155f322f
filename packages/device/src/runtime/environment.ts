import type { ThreadOptions } from '../config.ts'

/**
 * TensorFlow's settings, read by its native code from the process environment when its first session starts. Must run in the main
 * thread (a worker_thread's `process.env` is a copy) before the binding is loaded. Values that the user's environment
 * already holds win for the log level and oneDNN, and lose for the threads, which the launcher divides among the workers.
 */
export function setTensorFlowEnvironment(threads: ThreadOptions = {}): void {
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2'
  // TensorFlow has it on by itself only where the processor has AVX-512; with AVX2 alone a step takes a tenth less (docs/lab-log.md).
  process.env['TF_ENABLE_ONEDNN_OPTS'] ??= '1'
  if (threads.intraOp !== undefined) process.env['TF_NUM_INTRAOP_THREADS'] = String(threads.intraOp)
  if (threads.interOp !== undefined) process.env['TF_NUM_INTEROP_THREADS'] = String(threads.interOp)
}

/**
 * Variables that a launcher should add to the environment of a worker before it starts: glibc reads them when the process
 * begins, so that freed tensors stay in the process instead of going back to the system (min step 164 → 152 ms for op-by-op
 * training, nothing for whole-step graphs; see docs/lab-log.md).
 */
export const mallocEnvironment: Readonly<Record<string, string>> = {
  MALLOC_MMAP_THRESHOLD_: '1073741824',
  MALLOC_TRIM_THRESHOLD_: '8589934592',
  MALLOC_TOP_PAD_: '268435456',
}
