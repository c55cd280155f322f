/** WebAssembly SIMD kernels over one shared memory, each with a plain TypeScript twin. */
export {}
