import net from 'node:net'
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

const byteUnits: Readonly<Record<string, number>> = {
  b: 1,
  k: 1024,
  kib: 1024,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  g: 1024 ** 3,
  gib: 1024 ** 3,
}

/** A number of bytes: "4096", "64KiB", "4 MiB". */
export function byteCount(option: string, mostGiB = 4) {
  return (text: string): number => {
    const [, digits = '', unit = ''] = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim()) ?? []
    const factor = byteUnits[unit.toLowerCase() || 'b']
    const bytes = Math.round(Number(digits) * (factor ?? Number.NaN))
    if (digits !== '' && bytes >= 1 && bytes <= mostGiB * 1024 ** 3) return bytes
    throw usage(
      `${option} is ${JSON.stringify(text)}`,
      `pass a size such as 4096, 64KiB or 4MiB, at most ${mostGiB}GiB`,
    )
  }
}

/** "a,b, c": at least one, none of them empty. */
export function nameList(option: string) {
  return (text: string): string[] => {
    const names = text.split(',').map(name => name.trim())
    if (names.every(name => name !== '')) return names
    throw usage(`${option} is ${JSON.stringify(text)}`, 'pass names with commas between them, such as a,b,10.0.0.7')
  }
}

/** HOST, HOST:PORT, or an IPv6 address in brackets with a port. */
export function hostAndPort(option: string) {
  return (text: string): { readonly host: string; readonly port?: number } => {
    if (net.isIPv6(text)) return { host: text }
    const [, bracketed, name, port] = /^(?:\[([^\]]+)\]|([^:\s]+))(?::(\d{1,5}))?$/.exec(text) ?? []
    const host = bracketed ?? name
    if (host === undefined || Number(port ?? 1) > 65_535 || Number(port ?? 1) === 0) {
      throw usage(`${option} ${text} is no HOST or HOST:PORT`, 'for example 10.0.0.7:4321, or [fd00::7]:4321')
    }
    return { host, ...(port === undefined ? {} : { port: Number(port) }) }
  }
}

/** "f,b,w", "f,b,w,comm" or "f,b,w,comm,copy": times of forward, input and weight gradient, of a hop, and of a copy to the host. */
export function passCosts(option: string) {
  return (text: string) => {
    const times = text.split(',').map(part => (part.trim() === '' ? Number.NaN : Number(part)))
    const [forward = 0, inputGrad = 0, weightGrad = 0, hop = 0, copy = 0] = times
    const fine = times.length >= 3 && times.length <= 5 && times.every(time => Number.isFinite(time) && time >= 0)
    if (fine && Math.min(forward, inputGrad, weightGrad) > 0) return { forward, inputGrad, weightGrad, hop, copy }
    throw usage(
      `${option} is ${JSON.stringify(text)}`,
      'pass three to five times f,b,w,comm,copy, such as 1,1.3,0.7,0.2',
    )
  }
}

/** Times above 0, one after another. */
export function timeList(option: string) {
  return (text: string): readonly number[] => {
    const times = text.split(',').map(part => (part.trim() === '' ? Number.NaN : Number(part)))
    if (times.every(time => Number.isFinite(time) && time > 0)) return times
    throw usage(`${option} is ${JSON.stringify(text)}`, 'pass times above 0 with commas between them, such as 1,0.5')
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

export function nonNegative(option: string) {
  const positive = positiveNumber(option)
  return (text: string): number => (Number(text) === 0 && text.trim() !== '' ? 0 : positive(text))
}
