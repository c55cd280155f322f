/** The step: batch, gradients, reduce, update, vote. */
export {}
