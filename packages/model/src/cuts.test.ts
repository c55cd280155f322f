import { expect, it } from 'vitest'
import { cutsAt } from './cuts.ts'
import { gpt2Units } from './gpt2/units.ts'

const units = gpt2Units({ layers: 4, width: 8, heads: 2, context: 4, vocab: 8 })

it('stages begin at units by number or by name', () => {
  expect(cutsAt(units, [])).toEqual([6])
  expect(cutsAt(units, [2, 5])).toEqual([2, 3, 1])
  expect(cutsAt(units, ['transformer.h.1', 'transformer.ln_f'])).toEqual([2, 3, 1])
  expect(cutsAt(units, [1, 'transformer.h.3'])).toEqual([1, 3, 2])
})

it.each([[[0]], [[6]], [[3, 2]], [[2, 2]], [[1.5]], [['transformer.h.2', 'transformer.h.1']]])(
  'a cut at %j leaves a stage without units, and is refused',
  boundaries => {
    expect(() => cutsAt(units, boundaries)).toThrow(
      expect.objectContaining({
        code: 'SKEIN_MODEL_CUT',
        message: expect.stringMatching(/6 units .* rising numbers from 1 to 5/s),
      }),
    )
  },
)

it('a name that the model does not have is refused, with the nearest that it has', () => {
  expect(() => cutsAt(units, ['transformer.h.7'])).toThrow(
    expect.objectContaining({
      code: 'SKEIN_MODEL_CUT',
      message: expect.stringMatching(/transformer\.h\.7.*nearest.*transformer\.h\.\d/s),
    }),
  )
})
