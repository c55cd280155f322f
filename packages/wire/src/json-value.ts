/** Deeper than any job file, shallow enough for every recursion here. */
export const maxJsonDepth = 32

/**
 * Where and why `value` is not plain JSON (null, booleans, finite numbers, strings, arrays, plain objects), or undefined if it
 * is. Tensors must never travel as msgpack: this is what refuses them, by name.
 */
export function whyNotJson(value: unknown, path = '', depth = 0): string | undefined {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return undefined
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : `${at(path)} is ${value}`
  if (typeof value !== 'object') return `${at(path)} is of type ${typeof value}`
  if (depth >= maxJsonDepth) return `${at(path)} is nested over ${maxJsonDepth} deep`
  if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) {
      const problem = whyNotJson(item, `${path}[${i}]`, depth + 1)
      if (problem !== undefined) return problem
    }
    return undefined
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return `${at(path)} is a ${value.constructor.name}`
  for (const [key, item] of Object.entries(value)) {
    if (key === '__proto__') return `${at(path)} has a key "__proto__"`
    const problem = whyNotJson(item, path === '' ? key : `${path}.${key}`, depth + 1)
    if (problem !== undefined) return problem
  }
  return undefined
}

function at(path: string): string {
  return path === '' ? 'the value' : path
}
