/**
 * A job whose steps take long and hardly any of the processor, with a state of 24 MB: what a newcomer downloads on slow links, and what the others
 * do meanwhile, is seen on a machine that is busy too. PACED_SAMPLE_MS is the time of a sample.
 */
import { adamw, customDataset, defineJob, layersModel } from '@skein/job'

const sampleMs = Number(process.env['PACED_SAMPLE_MS'] ?? 0)
const numFeatures = 1414
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
    fingerprint: 'late-joiner',
    sample(split, index) {
      if (split === 'train') Atomics.wait(sleeping, 0, 0, sampleMs)
      const data = Float32Array.from({ length: numFeatures }, (_, i) => ((index * 7 + i) % 11) / 11)
      return { inputs: { data, shape: [numFeatures] } }
    },
  }),
  optimizer: adamw({ lr: 1e-4, schedule: 'constant', warmupSteps: 0 }),
  batch: { global: 6, micro: 1 },
  mesh: { dp: 3 },
  elastic: { min: 2, max: 4 },
  steps: 1000,
  eval: { every: 0, samples: 4 },
  checkpoint: { every: 0 },
})
