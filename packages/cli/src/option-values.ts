import { SkeinError } from '@skein/core'
import { CliErrors } from './errors.ts'

/** Parsers of option values for commander; each throws SKEIN_CLI_USAGE that names the option. */

export function wholeNumber(option: string, min: number, max = Number.MAX_SAFE_INTEGER) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() !== '' && Number.isInteger(value) && value >= min && value <= max) return value
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`
    throw usage(`${option} is ${JSON.stringify(text)}`, `pass a whole number ${range}`)
  }
}

export function positiveNumber(option: string) {
  return (text: string): number => {
    const value = Number(text)
    if (text.trim() !== '' && Number.isFinite(value) && value > 0) return value
    throw usage(`${option} is ${JSON.stringify(text)}`, 'pass a number above 0')
  }
}

export function oneOf<T extends string>(option: string, values: readonly T[]) {
  return (text: string): T => {
    const value = values.find(known => known === text)
    if (value !== undefined) return value
    throw usage(`${option} is ${JSON.stringify(text)}`, `pass one of: ${values.join(', ')}`)
  }
}

export function usage(what: string, todo: string): SkeinError {
  return new SkeinError(CliErrors.USAGE, { what, todo })
}
