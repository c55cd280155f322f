import { SkeinError } from '@skein/core'
import { SimdErrors } from './errors.ts'

declare global {
  /** The part of the WebAssembly namespace that the project names; no TypeScript library outside the DOM's declares it. */
  namespace WebAssembly {
    interface Memory {
      readonly buffer: ArrayBuffer | SharedArrayBuffer
      grow(delta: number): number
    }
  }
}

/** A `WebAssembly.Memory` made with `shared: true`: posted to another thread it is the same memory there. */
export interface SharedMemory extends WebAssembly.Memory {
  readonly buffer: SharedArrayBuffer
}

export const pageBytes = 65_536
/** All that 32-bit pointers reach but the last page: kernels compute the end of what they are given, and 4 GiB would be 0. */
export const maxMemoryBytes = 65_535 * pageBytes
/** The first line of an arena is never handed out, so that byte offset 0 is nobody's. */
export const reservedBytes = 64

/** The engine's namespace, typed as far as it is used here. */
export interface WasmEngine {
  readonly Memory: new (options: { initial: number; maximum: number; shared: boolean }) => SharedMemory
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: object }
}
export const wasmEngine = (globalThis as unknown as { readonly WebAssembly: WasmEngine }).WebAssembly

/**
 * A shared memory that holds `bytes` for its arena, all of it reserved now: it never grows, so views on it stay valid.
 * The system commits pages when they are first touched; until then they are zero and cost nothing.
 * @throws SKEIN_SIMD_MEMORY
 */
export function createSharedMemory(bytes: number): SharedMemory {
  const pages = Math.ceil((bytes + reservedBytes) / pageBytes)
  if (!Number.isSafeInteger(bytes) || bytes < 0 || pages * pageBytes > maxMemoryBytes) {
    throw new SkeinError(SimdErrors.MEMORY, {
      what: `a shared memory of ${bytes} B was asked for`,
      why: `WebAssembly pointers of 32 bits reach ${maxMemoryBytes} B`,
      todo: 'train a smaller model, or divide its state among more workers',
      details: { bytes, maxMemoryBytes },
    })
  }
  try {
    return new wasmEngine.Memory({ initial: pages, maximum: pages, shared: true })
  } catch (cause) {
    throw new SkeinError(SimdErrors.MEMORY, {
      what: `the system gave no shared memory of ${bytes} B`,
      why: 'its address space or memory limit is too small',
      todo: 'raise the limit (ulimit -v, container memory), or train a smaller model',
      details: { bytes },
      cause,
    })
  }
}
