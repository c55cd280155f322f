import { type CustomSamples, seededRandom } from '@skein/job'

export const imageSize = 16
export const numDigits = 10

/** 5×7 bitmaps, a row a string, `#` for ink. */
const font: readonly (readonly string[])[] = [
  [' ### ', '#   #', '#  ##', '# # #', '##  #', '#   #', ' ### '],
  ['  #  ', ' ##  ', '  #  ', '  #  ', '  #  ', '  #  ', ' ### '],
  [' ### ', '#   #', '    #', '   # ', '  #  ', ' #   ', '#####'],
  ['#####', '   # ', '  #  ', '   # ', '    #', '#   #', ' ### '],
  ['   # ', '  ## ', ' # # ', '#  # ', '#####', '   # ', '   # '],
  ['#####', '#    ', '#### ', '    #', '    #', '#   #', ' ### '],
  ['  ## ', ' #   ', '#    ', '#### ', '#   #', '#   #', ' ### '],
  ['#####', '    #', '   # ', '  #  ', ' #   ', ' #   ', ' #   '],
  [' ### ', '#   #', '#   #', ' ### ', '#   #', '#   #', ' ### '],
  [' ### ', '#   #', '#   #', ' ####', '    #', '   # ', ' ##  '],
]

/** Draws a digit near the middle of a noisy square: float32 [imageSize, imageSize, 1], and which digit it is. A function of its keys. */
export function drawDigit(...keys: readonly number[]): { readonly image: Float32Array; readonly digit: number } {
  const random = seededRandom(...keys)
  const digit = random.nextInt(numDigits)
  const glyph = font[digit] ?? []
  // Near the middle: up to two pixels off in each direction.
  const left = 3 + random.nextInt(5)
  const top = 2 + random.nextInt(5)
  const ink = 0.6 + 0.6 * random.nextFloat()
  const image = Float32Array.from({ length: imageSize * imageSize }, () => 0.2 * random.nextNormal())
  glyph.forEach((row, y) => {
    for (let x = 0; x < row.length; x++) {
      // One pixel of ink in twenty is missing.
      if (row[x] !== '#' || random.nextFloat() < 0.05) continue
      const at = (top + y) * imageSize + left + x
      image[at] = (image[at] ?? 0) + ink
    }
  })
  return { image, digit }
}

/** Drawn when asked for, so there is nothing to download or to keep. */
export const digits: CustomSamples = {
  numSamples: 20_000,
  numValSamples: 1_000,
  fingerprint: 'digits 2',
  sample(split, index) {
    const { image, digit } = drawDigit(split === 'train' ? 1 : 2, index)
    return {
      inputs: { data: image, shape: [imageSize, imageSize, 1] },
      labels: { data: Int32Array.of(digit), shape: [] },
    }
  },
}
