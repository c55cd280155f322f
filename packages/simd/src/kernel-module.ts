import { SkeinError } from '@skein/core'
import { SimdErrors } from './errors.ts'
import { wasmEngine } from './shared-memory.ts'

/**
 * A module of kernels as scripts/build-simd.mjs makes it, ready to be instantiated. It is compiled once for the process, at the first
 * call; each memory gets its own instance. `Exports` is what the module exports, unchecked.
 */
export function kernelModule<Exports>(base64: string): (memory: WebAssembly.Memory) => Exports {
  let compiled: object | undefined
  return memory => {
    compiled ??= new wasmEngine.Module(Uint8Array.from(atob(base64.replaceAll('\n', '')), c => c.charCodeAt(0)))
    return new wasmEngine.Instance(compiled, { env: { memory } }).exports as Exports
  }
}

/**
 * A guard for kernels over `memory`: throws unless the `bytes` B at `ptr` lie inside it.
 * @throws SKEIN_SIMD_RANGE
 */
export function rangeCheck(memory: WebAssembly.Memory): (kernel: string, ptr: number, bytes: number) => void {
  let limit = memory.buffer.byteLength
  return (kernel, ptr, bytes) => {
    if (ptr >= 0 && bytes >= 0 && ptr + bytes <= limit) return
    limit = memory.buffer.byteLength
    if (ptr >= 0 && bytes >= 0 && ptr + bytes <= limit) return
    throw new SkeinError(SimdErrors.RANGE, {
      what: `${kernel} was called for ${bytes} B at ${ptr} in a memory of ${limit} B`,
      why: 'the caller computed a wrong offset or count',
      todo: 'check it against the region the arena handed out',
      details: { kernel, ptr, bytes, limit },
    })
  }
}
