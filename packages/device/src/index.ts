/** The only owner of TensorFlow.js: runtime, backends, kernels, memory ledger. */
export {}
