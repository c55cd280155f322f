export const batch = 16

/** The parameters after a step, by those before it (by default the right ones): whoever begins elsewhere ends elsewhere. */
export function digestAfter(step: number, before?: string): string {
  if (step === 0) return 'd0'
  return before === undefined || before === `d${step - 1}` ? `d${step}` : `wrong${step}(${before})`
}
