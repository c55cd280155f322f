/**
 * A job whose steps take as long as its data: 20 ms a sample, so that a test on a busy machine knows how fast each worker is. The file
 * that SLOW_DATA names says whose data comes how many times as slowly: {"w2": 1.3}. It may change while the run goes on. SLOW_SHARES=measured
 * gives the slower fewer samples.
 */
import fs from 'node:fs'
import { adamw, customDataset, defineJob, layersModel } from '@skein/job'

const sampleMs = 20
const numFeatures = 8
const sleeping = new Int32Array(new SharedArrayBuffer(4))
const workerId = process.argv[process.argv.indexOf('--id') + 1] ?? ''

function slowness(): number {
  const file = process.env['SLOW_DATA']
  if (file === undefined) return 1
  const factors = JSON.parse(fs.readFileSync(file, 'utf8')) as Readonly<Record<string, number>>
  return factors[workerId] ?? 1
}

export default defineJob({
  model: layersModel({
    name: 'linear',
    build: tf =>
      tf.sequential({ layers: [tf.layers.dense({ inputShape: [numFeatures], units: 1, kernelInitializer: 'ones' })] }),
    loss: ({ output }) => output.square().mean().asScalar(),
  }),
  data: customDataset({
    numSamples: 1000,
    numValSamples: 4,
    fingerprint: 'slow',
    sample(split, index) {
      if (split === 'train') Atomics.wait(sleeping, 0, 0, sampleMs * slowness())
      const data = Float32Array.from({ length: numFeatures }, (_, i) => ((index * 7 + i) % 11) / 11)
      return { inputs: { data, shape: [numFeatures] } }
    },
  }),
  // Not by the number of steps, so that a run that was ended can be compared with a shorter one.
  optimizer: adamw({ lr: 1e-2, schedule: 'constant', warmupSteps: 0 }),
  batch: { global: 12, micro: 4, shares: process.env['SLOW_SHARES'] === 'measured' ? 'measured' : 'equal' },
  mesh: { dp: 3 },
  steps: 100_000,
  eval: { every: 0, samples: 4 },
})
