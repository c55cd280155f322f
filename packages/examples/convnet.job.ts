/**
 * Any tf.LayersModel with a loss of one's own, data parallel: a small convolutional net reads digits that the example draws.
 *
 *   scripts/skein train packages/examples/convnet.job.ts --workers 2
 */
import { adamw, customDataset, defineJob, layersModel } from '@skein/job'
import { digits, imageSize, numDigits } from './digits.ts'

export default defineJob({
  model: layersModel({
    name: 'digits',
    build: tf =>
      tf.sequential({
        layers: [
          tf.layers.conv2d({ inputShape: [imageSize, imageSize, 1], filters: 16, kernelSize: 3, activation: 'relu' }),
          tf.layers.maxPooling2d({ poolSize: 2 }),
          tf.layers.conv2d({ filters: 32, kernelSize: 3, activation: 'relu' }),
          tf.layers.maxPooling2d({ poolSize: 2 }),
          tf.layers.flatten(),
          tf.layers.dense({ units: numDigits }),
        ],
      }),
    loss: ({ tf, output, arrays }) => tf.losses.softmaxCrossEntropy(tf.oneHot(arrays['labels']!, numDigits), output),
  }),
  data: customDataset(digits),
  optimizer: adamw({ lr: 1e-2, weightDecay: 0.01 }),
  batch: { global: 64, micro: 16 },
  mesh: { dp: 2 },
  steps: 300,
  eval: { every: 50, samples: 512 },
})
