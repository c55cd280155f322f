/**
 * A job whose steps take 100 ms of wall time for each of two workers and hardly any of the processor, with 2.6 M parameters on real sockets: what
 * others do on the same machine is seen in its steps only through the network and the comm threads.
 */
import { adamw, customDataset, defineJob, layersModel } from '@skein/job'

const sampleMs = 50
const numFeatures = 1600
const sleeping = new Int32Array(new SharedArrayBuffer(4))

export default defineJob({
  model: layersModel({
    name: 'linear',
    build: tf =>
      tf.sequential({
        layers: [tf.layers.dense({ inputShape: [numFeatures], units: numFeatures, kernelInitializer: 'ones' })],
      }),
    loss: ({ output }) => output.square().mean().asScalar(),
  }),
  data: customDataset({
    numSamples: 1000,
    numValSamples: 4,
    fingerprint: 'paced',
    sample(split, index) {
      if (split === 'train') Atomics.wait(sleeping, 0, 0, sampleMs)
      const data = Float32Array.from({ length: numFeatures }, (_, i) => ((index * 7 + i) % 11) / 11)
      return { inputs: { data, shape: [numFeatures] } }
    },
  }),
  optimizer: adamw({ lr: 1e-4, schedule: 'constant', warmupSteps: 0 }),
  batch: { global: 4, micro: 1 },
  mesh: { dp: 2 },
  elastic: { min: 2, max: 2 },
  steps: 100_000,
  eval: { every: 0, samples: 4 },
  checkpoint: { every: 0 },
})
