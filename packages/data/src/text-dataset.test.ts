import { useTestSeed } from '@skein/testkit'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bigramLoss, trainBigram } from './bigram.ts'
import { decodeTokens, encodeText, tokenDecoder } from './byte-tokenizer.ts'
import type { DocumentSet } from './documents.ts'
import { splitDocuments } from './split.ts'
import { textDataset } from './text-dataset.ts'

useTestSeed()

const documentSet = (texts: readonly string[]): DocumentSet => ({
  documents: texts.map((text, i) => ({ name: `doc-${i}.txt`, bytes: encodeText(text) })),
  skippedBinary: 0,
  skippedEmpty: 0,
})
const corpus = documentSet(Array.from({ length: 40 }, (_, i) => `document number ${i} says ${'abc'.repeat(i)}.\n`))
const options = { context: 16, seed: 3, globalBatch: 4, heldOut: 0.2, splitSeed: 0 }

describe('splitDocuments', () => {
  test('every document is on exactly one side and neither side is empty', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 2, maxLength: 40 }),
        fc.double({ min: 0.001, max: 0.999, noNaN: true }),
        fc.nat(),
        (names, heldOut, splitSeed) => {
          const documents = names.map(name => ({ name, bytes: encodeText(name) }))
          const { train, val } = splitDocuments(documents, { heldOut, splitSeed })
          expect(train.length).toBeGreaterThan(0)
          expect(val.length).toBeGreaterThan(0)
          expect([...train, ...val].map(d => d.name).sort()).toEqual([...names].sort())
        },
      ),
    )
  })

  test('a document stays on its side when others are added', () => {
    const few = splitDocuments(corpus.documents.slice(0, 30), options)
    const many = splitDocuments(corpus.documents, options)
    for (const document of few.val) expect(many.val).toContain(document)
    for (const document of few.train) expect(many.train).toContain(document)
  })

  test('about the asked share is held out', () => {
    const documents = Array.from({ length: 4000 }, (_, i) => ({ name: `a/${i}`, bytes: new Uint8Array(1) }))
    const { val } = splitDocuments(documents, { heldOut: 0.05, splitSeed: 9 })
    // Binomial: 200 ± 13.8; five deviations, for a fixed seed.
    expect(Math.abs(val.length - 200)).toBeLessThan(70)
  })

  test('a lone document is cut at line ends and nothing of it is lost', () => {
    const text = Array.from({ length: 500 }, (_, i) => `line ${i}\n`).join('')
    const { train, val, pieces } = splitDocuments(documentSet([text]).documents, { heldOut: 0.05, splitSeed: 0 })
    expect(pieces).toBe(20)
    expect(train.length + val.length).toBe(20)
    for (const { bytes } of [...train, ...val]) expect(bytes.at(-1)).toBe(10)
    expect([...train, ...val].reduce((sum, d) => sum + d.bytes.length, 0)).toBe(text.length)
  })

  test('one line alone cannot be divided', () => {
    expect(() => splitDocuments(documentSet(['only one line']).documents, options)).toThrow(
      expect.objectContaining({ code: 'SKEIN_DATA_NO_SPLIT' }),
    )
  })
})

describe('textDataset', () => {
  const dataset = textDataset(corpus, options)

  test('one epoch of samples covers the training stream, targets one token on', () => {
    const numbers = Array.from({ length: dataset.numSamples }, (_, i) => i)
    const { arrays, samples } = dataset.batch('train', numbers)
    expect(samples).toBe(dataset.numSamples)
    expect(arrays['inputs']?.shape).toEqual([dataset.numSamples, 16])
    const inputs = arrays['inputs']?.data as Int32Array
    const targets = arrays['targets']?.data as Int32Array
    const rows = numbers.map(i => ({
      inputs: [...inputs.subarray(i * 16, i * 16 + 16)],
      targets: [...targets.subarray(i * 16, i * 16 + 16)],
    }))
    for (const row of rows) expect(row.targets.slice(0, 15)).toEqual(row.inputs.slice(1))
    const expected = numbers.map(i => [...dataset.trainStream.subarray(i * 16, i * 16 + 17)].join(' '))
    expect(rows.map(row => [...row.inputs, row.targets[15]].join(' ')).sort()).toEqual(expected.sort())
  })

  test('documents are separated by token 0 and hold none themselves', () => {
    const zeros = dataset.trainStream.filter(token => token === 0).length
    expect(zeros).toBe((dataset.describe().details['trainDocuments'] as number) + 1)
  })

  test('the seed changes the order of samples and nothing else', () => {
    const other = textDataset(corpus, { ...options, seed: 4 })
    expect(other.fingerprint).toBe(dataset.fingerprint)
    expect(other.batch('train', [0, 1, 2, 3])).not.toEqual(dataset.batch('train', [0, 1, 2, 3]))
    expect(other.batch('val', [0, 1])).toEqual(dataset.batch('val', [0, 1]))
  })

  test('the fingerprint changes with a byte of text, the context and the split', () => {
    const changed = corpus.documents.map((d, i) =>
      i === 7 ? { ...d, bytes: d.bytes.map(b => (b === 46 ? 33 : b)) } : d,
    )
    const others = [
      textDataset({ ...corpus, documents: changed }, options),
      textDataset(corpus, { ...options, context: 8 }),
      textDataset(corpus, { ...options, splitSeed: 1 }),
    ]
    expect(new Set([dataset, ...others].map(d => d.fingerprint)).size).toBe(4)
  })

  test('a corpus smaller than one batch is refused with both numbers', () => {
    expect(() => textDataset(corpus, { ...options, globalBatch: 4096 })).toThrow(
      expect.objectContaining({
        code: 'SKEIN_DATA_TOO_SMALL',
        message: expect.stringMatching(new RegExp(`holds ${dataset.numSamples} samples of 16 .*batch.global = 4096`)),
      }),
    )
  })

  test('held-out text shorter than a sample is refused with both numbers', () => {
    const set = documentSet([...Array.from({ length: 6 }, () => 'x'.repeat(4000)), 'short'])
    const seed = Array.from({ length: 500 }, (_, splitSeed) => splitSeed).find(splitSeed => {
      const { val } = splitDocuments(set.documents, { heldOut: 0.01, splitSeed })
      return val.length === 1 && val[0]?.bytes.length === 5
    })
    expect(seed).toBeDefined()
    expect(() => textDataset(set, { ...options, heldOut: 0.01, splitSeed: seed as number })).toThrow(
      expect.objectContaining({
        code: 'SKEIN_DATA_TOO_SMALL',
        message: expect.stringContaining('one sample takes 17 B'),
      }),
    )
  })

  test('a sample that does not exist is refused', () => {
    expect(() => dataset.batch('val', [dataset.numValSamples])).toThrow(
      expect.objectContaining({ code: 'SKEIN_DATA_SAMPLE_RANGE' }),
    )
    expect(() => dataset.batch('train', [-1])).toThrow(expect.objectContaining({ code: 'SKEIN_DATA_SAMPLE_RANGE' }))
    expect(dataset.batch('train', [dataset.numSamples * 5]).samples).toBe(1)
  })
})

describe('bigram', () => {
  test('each row is a probability distribution', () => {
    const { logProbs } = trainBigram(encodeText('the cat sat on the mat; the dog sat on the cat'))
    for (let previous = 0; previous < 256; previous++) {
      let sum = 0
      for (let next = 0; next < 256; next++) sum += Math.exp(logProbs[previous * 256 + next] as number)
      expect(sum).toBeCloseTo(1, 10)
    }
  })

  test('equals a slow count over the batches the evaluation sees', () => {
    const dataset = textDataset(corpus, options)
    const bigram = trainBigram(dataset.trainStream)
    const count = 5
    const { arrays } = dataset.batch(
      'val',
      Array.from({ length: count }, (_, i) => i),
    )
    const inputs = arrays['inputs']?.data as Int32Array
    const targets = arrays['targets']?.data as Int32Array
    let sum = 0
    inputs.forEach((token, i) => {
      sum -= bigram.logProbs[token * 256 + (targets[i] as number)] as number
    })
    expect(bigramLoss(bigram, dataset, count)).toBeCloseTo(sum / inputs.length, 12)
    expect(dataset.baseline(count)).toEqual({ name: 'byte bigram', loss: bigramLoss(bigram, dataset, count) })
  })

  test('finds the entropy of a chain it can represent', () => {
    // After "a" comes "b" or "c" with equal odds, after those always "a": log(2)/2 nats a token.
    let state = 12345
    const coin = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0
      return state >>> 31
    }
    const lines = Array.from({ length: 200 }, () =>
      Array.from({ length: 200 }, () => (coin() === 1 ? 'ab' : 'ac')).join(''),
    )
    const dataset = textDataset(documentSet(lines), { ...options, context: 128 })
    const loss = bigramLoss(trainBigram(dataset.trainStream), dataset, dataset.numValSamples)
    expect(Math.abs(loss - Math.LN2 / 2)).toBeLessThan(0.03)
  })
})

describe('byte tokens', () => {
  test('text without NUL comes back as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), text => {
        const clean = text.replaceAll('\0', '').toWellFormed()
        expect(decodeTokens(encodeText(text))).toBe(clean)
      }),
    )
  })

  test('any bytes decode without an error', () => {
    fc.assert(fc.property(fc.uint8Array(), bytes => decodeTokens(bytes).length <= bytes.length))
    expect(decodeTokens(encodeText('añ').subarray(0, 2))).toBe('a\ufffd')
  })

  test('a streaming decoder holds a character back until it is whole, and says the same in the end', () => {
    const decoder = tokenDecoder()
    const parts = [...encodeText('é€😀')].map(token => decoder.push(token))
    expect(parts).toEqual(['', 'é', '', '', '€', '', '', '', '😀'])
    fc.assert(
      fc.property(fc.uint8Array(), bytes => {
        const streaming = tokenDecoder()
        const pieces = [...bytes].map(token => streaming.push(token))
        expect(pieces.join('') + streaming.end()).toBe(decodeTokens(bytes))
      }),
    )
  })
})
