import { combinedDigest } from '@skein/core'

export const batch = 16

/** The parameters of a part after a step, by those before it (by default the right ones): whoever begins elsewhere ends elsewhere. */
export function digestAfter(part: number, step: number, before?: string): string {
  if (step === 0) return `d0.${part}`
  const isRight = before === undefined || before === `d${step - 1}.${part}`
  return isRight ? `d${step}.${part}` : `wrong${step}.${part}(${before})`
}

/** Of all parts, as the log has it. */
export const digestOfAll = (parts: number, step: number): string =>
  combinedDigest(Array.from({ length: parts }, (_, part) => digestAfter(part, step)))
