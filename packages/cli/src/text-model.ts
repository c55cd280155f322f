import type { StoreEnvironment } from '@skein/checkpoint'
import { byteVocabSize } from '@skein/data'
import { chooseDevice, type DeviceKind, openKernelDevice } from '@skein/device'
import { type FlatLayout, Gpt2, placeOf } from '@skein/model'
import { SkeinError } from '@skein/core'
import { CliErrors } from './errors.ts'
import { readTrainedModel, type TrainedModel } from './trained-model.ts'

/** A trained language model on a device, ready to be asked. Disposing frees the device. */
export interface TextModel extends Disposable {
  readonly model: Gpt2
  /** Flat parameters in the model's layout. */
  readonly params: Float32Array
}

/**
 * Reads the model that `given` means and puts it on the best device, or the one asked for.
 * @throws as readTrainedModel, SKEIN_CLI_MODEL_NOT_TEXT for another tokenizer than bytes, SKEIN_DEVICE_…
 */
export async function openTextModel(
  given: string,
  options: { readonly device?: string | undefined; readonly store?: StoreEnvironment } = {},
): Promise<TextModel> {
  const { device: prefer, store = {} } = options
  const [trained, choice] = await Promise.all([
    readTrainedModel(given, store),
    chooseDevice(prefer === undefined ? {} : { prefer: prefer as DeviceKind }),
  ])
  if (trained.sizes.vocab !== byteVocabSize) throw otherTokenizer(trained)
  if (choice.warning !== undefined) process.stderr.write(`${choice.warning}\n`)
  const device = await openKernelDevice(choice.kind)
  const model = new Gpt2(trained.sizes, device)
  return {
    model,
    params: flatParameters(model.layout, trained),
    [Symbol.dispose]() {
      model.dispose()
      device.dispose()
    },
  }
}

/** The tensors in the places of the layout. Both sides have the names of the Hugging Face format. */
function flatParameters(layout: FlatLayout, trained: TrainedModel): Float32Array {
  const params = new Float32Array(layout.totalElems)
  for (const tensor of trained.tensors) params.set(tensor.data, placeOf(layout, tensor.name).offset)
  return params
}

function otherTokenizer(trained: TrainedModel): SkeinError {
  return new SkeinError(CliErrors.MODEL_NOT_TEXT, {
    what: `the model in ${trained.folder} has ${trained.sizes.vocab} tokens, and text is read here as ${byteVocabSize} byte tokens`,
    why: 'it was trained with another tokenizer',
    todo: 'use it with the library and tokenizer that it comes from, or give a model trained by Skein',
    details: { vocab: trained.sizes.vocab },
  })
}
