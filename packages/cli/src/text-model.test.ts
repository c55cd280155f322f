import fs from 'node:fs'
import path from 'node:path'
import { exportHuggingFace, gpt2Shapes, type NamedTensor, saveCheckpoint } from '@skein/checkpoint'
import { numElements, seededRandom } from '@skein/core'
import { generate, score } from '@skein/model'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { CliErrors } from './errors.ts'
import { openTextModel } from './text-model.ts'
import { gpt2SizesOf, readTrainedModel } from './trained-model.ts'

const sizes = { layers: 1, width: 16, heads: 2, context: 16, vocab: 256 }

function randomTensors(of = sizes): NamedTensor[] {
  const random = seededRandom(7)
  return [...gpt2Shapes(of)].map(([name, shape]) => {
    const isGain = /ln_\w+\.weight$/u.test(name)
    const data = Float32Array.from({ length: numElements(shape) }, () => (isGain ? 1 : 0.2 * random.nextNormal()))
    return { name, shape, data }
  })
}

async function writeCheckpoint(root: string, parameters: readonly NamedTensor[]): Promise<string> {
  const zeros = parameters.map(tensor => ({ ...tensor, data: new Float32Array(tensor.data.length) }))
  const { path: folder } = await saveCheckpoint(root, {
    step: 3,
    samplesSeen: 12,
    seed: 1,
    digest: '0123456789abcdef',
    generation: 1,
    job: {},
    model: { kind: 'gpt2', ...sizes },
    createdBy: { skein: '0.1.0' },
    parameters,
    expAvg: zeros,
    expAvgSq: zeros,
  })
  return folder
}

describe('a trained model', () => {
  it('is the same from a checkpoint, its run’s folder and a Hugging Face folder', async () => {
    using folder = temporaryFolder('model')
    const tensors = randomTensors()
    const run = path.join(folder.path, 'run')
    const checkpoint = await writeCheckpoint(path.join(run, 'checkpoints'), tensors)
    const hf = path.join(folder.path, 'hf')
    await exportHuggingFace(hf, { sizes, tensors })
    const prompt = [...Buffer.from('export function')]
    const answers: { tokens: number[]; logprobs: number[] }[] = []
    for (const given of [checkpoint, path.join(run, 'checkpoints'), run, hf]) {
      using opened = await openTextModel(given)
      answers.push({
        tokens: generate(opened.model, opened.params, prompt, { tokens: 20, temperature: 0.8, seed: 3 }),
        logprobs: score(opened.model, opened.params, prompt),
      })
    }
    for (const answer of answers) expect(answer).toEqual(answers[0])
    expect(answers[0]?.tokens).toHaveLength(20)
    expect(answers[0]?.logprobs).toHaveLength(prompt.length - 1)
    for (const logprob of answers[0]?.logprobs ?? []) expect(logprob).toBeLessThan(0)
  })

  it('with a flipped byte, or cut short, is refused', async () => {
    using folder = temporaryFolder('model')
    const checkpoint = await writeCheckpoint(folder.path, randomTensors())
    const file = path.join(checkpoint, 'model.safetensors')
    const bytes = fs.readFileSync(file)
    const at = bytes.length - 100
    bytes[at] = (bytes[at] ?? 0) ^ 1
    fs.writeFileSync(file, bytes)
    await expect(readTrainedModel(checkpoint)).rejects.toMatchObject({ code: 'SKEIN_CHECKPOINT_CORRUPT' })
    fs.truncateSync(file, at)
    await expect(readTrainedModel(checkpoint)).rejects.toMatchObject({ code: 'SKEIN_CHECKPOINT_CUT_SHORT' })
  })

  it('that is not there is refused with what would do', async () => {
    using folder = temporaryFolder('model')
    for (const given of [folder.path, path.join(folder.path, 'nowhere')]) {
      await expect(readTrainedModel(given)).rejects.toMatchObject({ code: CliErrors.NO_MODEL.code })
    }
  })

  it('with another tokenizer is refused', async () => {
    using folder = temporaryFolder('model')
    const other = { ...sizes, vocab: 300 }
    await exportHuggingFace(folder.path, { sizes: other, tensors: randomTensors(other) })
    await expect(openTextModel(folder.path)).rejects.toMatchObject({
      code: CliErrors.MODEL_NOT_TEXT.code,
      details: { vocab: 300 },
    })
  })

  it('is a language model only if its job said so', () => {
    expect(gpt2SizesOf({ kind: 'gpt2', ...sizes })).toEqual(sizes)
    for (const model of [undefined, null, {}, { kind: 'layers', name: 'convnet' }, { kind: 'gpt2', layers: 1 }]) {
      expect(gpt2SizesOf(model)).toBeUndefined()
    }
  })
})
