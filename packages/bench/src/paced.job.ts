/**
 * A job whose steps take long and hardly any of the processor, two samples for each worker, with 2.6 M parameters (a state of 31 MB) on real sockets: what
 * others do on the same machine is seen in its steps only through the network and the comm threads.
 *
 * PACED_SAMPLE_MS is the time of a sample (50), PACED_WORKERS how many there are to begin with (2), PACED_MAX how many at most (as many), PACED_WIDTH the
 * width of the one layer (1600).
 */
import { adamw, customDataset, defineJob, layersModel } from '@skein/job'

const sampleMs = Number(process.env['PACED_SAMPLE_MS'] ?? 50)
const workers = Number(process.env['PACED_WORKERS'] ?? 2)
const maxWorkers = Number(process.env['PACED_MAX'] ?? workers)
const numFeatures = Number(process.env['PACED_WIDTH'] ?? 1600)
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
  batch: { global: 2 * workers, micro: 1 },
  mesh: { dp: workers },
  elastic: { min: 2, max: maxWorkers },
  steps: 100_000,
  eval: { every: 0, samples: 4 },
  checkpoint: { every: 0 },
})
