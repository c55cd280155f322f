/** Layers with forward, inputGrad and weightGrad; GPT-2; the tf.LayersModel adapter. */
export {}
