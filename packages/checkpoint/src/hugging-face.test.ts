import fs from 'node:fs'
import path from 'node:path'
import { numElements, seededRandom } from '@skein/core'
import { temporaryFolder } from '@skein/testkit'
import { describe, expect, test } from 'vitest'
import { byteCharacters } from './byte-level-files.ts'
import { type Gpt2Sizes, gpt2Shapes } from './gpt2-names.ts'
import { exportHuggingFace, importHuggingFace } from './hugging-face.ts'
import type { NamedTensor } from './tensor.ts'
import { writeSafetensors } from './write-safetensors.ts'

const sizes: Gpt2Sizes = { layers: 2, width: 8, heads: 2, context: 16, vocab: 256 }
const random = seededRandom(1)
const tensors: NamedTensor[] = [...gpt2Shapes(sizes)].map(([name, shape]) => ({
  name,
  shape,
  data: Float32Array.from({ length: numElements(shape) }, () => random.nextNormal()),
}))
const refused = (message: RegExp) =>
  expect.objectContaining({ code: 'SKEIN_CHECKPOINT_HUGGING_FACE', message: expect.stringMatching(message) })

const exported = async () => {
  const folder = temporaryFolder('hugging-face')
  await exportHuggingFace(folder.path, { sizes, tensors })
  return folder
}
const changeConfig = (folder: string, change: Record<string, unknown>) => {
  const file = path.join(folder, 'config.json')
  const config = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>
  fs.writeFileSync(file, JSON.stringify({ ...config, ...change }))
}

describe('export and import', () => {
  test('weights and sizes come back', async () => {
    using folder = await exported()
    expect(await importHuggingFace(folder.path)).toEqual({ sizes, tensors })
  })

  test('names without the prefix, attention masks and a stored head are understood', async () => {
    using folder = await exported()
    const stored: NamedTensor[] = [
      ...tensors.map(tensor => ({ ...tensor, name: tensor.name.replace('transformer.', '') })),
      { name: 'h.0.attn.bias', shape: [1, 1, 16, 16], data: new Float32Array(256) },
      { name: 'h.1.attn.masked_bias', shape: [], data: new Float32Array(1) },
      { ...(tensors[0] as NamedTensor), name: 'lm_head.weight' },
    ]
    await writeSafetensors(path.join(folder.path, 'model.safetensors'), stored)
    expect((await importHuggingFace(folder.path)).tensors).toEqual(tensors)
  })

  test('shards named by an index are joined', async () => {
    using folder = await exported()
    fs.rmSync(path.join(folder.path, 'model.safetensors'))
    const halves = { 'a.safetensors': tensors.slice(0, 9), 'b.safetensors': tensors.slice(9) }
    const weightMap: Record<string, string> = {}
    for (const [file, part] of Object.entries(halves)) {
      await writeSafetensors(path.join(folder.path, file), part)
      for (const { name } of part) weightMap[name] = file
    }
    fs.writeFileSync(path.join(folder.path, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }))
    expect((await importHuggingFace(folder.path)).tensors).toEqual(tensors)
  })

  test('a model that would compute something else is refused with the field', async () => {
    using folder = await exported()
    changeConfig(folder.path, { activation_function: 'relu' })
    await expect(importHuggingFace(folder.path)).rejects.toThrow(refused(/activation_function = "relu"/))
    changeConfig(folder.path, { activation_function: 'gelu_new', model_type: 'llama' })
    await expect(importHuggingFace(folder.path)).rejects.toThrow(refused(/model_type = "llama"/))
    changeConfig(folder.path, { model_type: 'gpt2', n_layer: 3 })
    await expect(importHuggingFace(folder.path)).rejects.toThrow(refused(/transformer\.h\.2\.ln_1\.weight is missing/))
    changeConfig(folder.path, { n_layer: 1 })
    await expect(importHuggingFace(folder.path)).rejects.toThrow(
      refused(/transformer\.h\.1\.\S+ is not part of the model/),
    )
  })

  test('a folder with pickled weights only is refused', async () => {
    using folder = await exported()
    fs.renameSync(path.join(folder.path, 'model.safetensors'), path.join(folder.path, 'pytorch_model.bin'))
    await expect(importHuggingFace(folder.path)).rejects.toThrow(refused(/only pytorch_model\.bin/))
  })

  test('weights of other sizes cannot be exported', async () => {
    using folder = temporaryFolder('hugging-face')
    await expect(exportHuggingFace(folder.path, { sizes: { ...sizes, width: 16 }, tensors })).rejects.toThrow(
      refused(/transformer\.wte\.weight is 256×8, not 256×16/),
    )
  })
})

describe('byte tokenizer files', () => {
  test('every byte has a character of its own, as in GPT-2', () => {
    const characters = byteCharacters()
    expect(new Set(characters).size).toBe(256)
    expect([0, 10, 32, 65, 127, 173, 255].map(b => characters[b])).toEqual(['Ā', 'Ċ', 'Ġ', 'A', 'ġ', 'Ń', 'ÿ'])
  })

  test('ids are byte values, and a vocabulary of another size gets no tokenizer', async () => {
    using folder = await exported()
    const vocab = JSON.parse(fs.readFileSync(path.join(folder.path, 'vocab.json'), 'utf8')) as Record<string, number>
    expect(Object.values(vocab).sort((a, b) => a - b)).toEqual(Array.from({ length: 256 }, (_, i) => i))
    expect(vocab['Ġ']).toBe(32)
    using other = temporaryFolder('hugging-face')
    const wide = { ...sizes, vocab: 300 }
    const data = new Float32Array(300 * 8)
    const files = await exportHuggingFace(other.path, {
      sizes: wide,
      tensors: tensors.map(tensor =>
        tensor.name === 'transformer.wte.weight' ? { ...tensor, shape: [300, 8], data } : tensor,
      ),
    })
    expect(files).toEqual(['model.safetensors', 'config.json'])
  })
})
