/** A job of which the worker w1 stands in one kernel for a long time, once: its device thread does nothing else, as in a huge matrix product. */
import { customDataset, defineJob, layersModel } from '@skein/job'

const blockMs = Number(process.env['SKEIN_TEST_BLOCK_MS'] ?? 0)
let calls = 0

function maybeBlock(): void {
  if (++calls !== 20 || !process.argv.includes('w1')) return
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, blockMs)
}

export default defineJob({
  model: layersModel({
    name: 'line',
    build: tf => tf.sequential({ layers: [tf.layers.dense({ inputShape: [2], units: 1 })] }),
    loss: ({ tf, output, arrays }) => {
      maybeBlock()
      return tf.losses.meanSquaredError(arrays['y'] as NonNullable<(typeof arrays)['y']>, output)
    },
  }),
  data: customDataset({
    numSamples: 64,
    numValSamples: 4,
    fingerprint: 'line',
    sample: (_split, index) => ({
      inputs: { data: Float32Array.of(index / 64, 1), shape: [2] },
      y: { data: Float32Array.of(index / 32), shape: [1] },
    }),
  }),
  batch: { global: 8, micro: 4 },
  mesh: { dp: 2 },
  steps: 30,
  eval: { every: 0, samples: 4 },
})
