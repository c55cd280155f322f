import path from 'node:path'

/** Variables of the environment by which a store is reached; given by the process, never read here. */
export type StoreEnvironment = Readonly<Record<string, string | undefined>>

/** Where checkpoints are: a folder, or `s3://BUCKET/PREFIX`, which may end with `?endpoint=URL`. */
export function isS3(location: string): boolean {
  return location.startsWith('s3://')
}

/** The absolute form of what a user gives. */
export function resolveLocation(given: string, cwd = process.cwd()): string {
  return isS3(given) ? given : path.resolve(cwd, given)
}

/** The location of `name` in `parent`. */
export function locationIn(parent: string, name: string): string {
  if (!isS3(parent)) return path.join(parent, name)
  const { place, query } = parts(parent)
  return `${place}/${name}${query}`
}

/** A location as its parent and the last part of its path. */
export function splitLocation(location: string): { readonly parent: string; readonly name: string } {
  if (!isS3(location)) return { parent: path.dirname(location), name: path.basename(location) }
  const { place, query } = parts(location)
  const cut = place.lastIndexOf('/')
  return { parent: `${place.slice(0, cut)}${query}`, name: place.slice(cut + 1) }
}

/** A query names the endpoint, and stays at the end. */
function parts(location: string): { readonly place: string; readonly query: string } {
  const at = location.indexOf('?')
  const place = at < 0 ? location : location.slice(0, at)
  return { place: place.replace(/\/+$/u, ''), query: at < 0 ? '' : location.slice(at) }
}
