/**
 * Preloaded (NODE_OPTIONS=--import) into the processes of a chaos run whose wall clock is to jump: `Date` is ahead by the number of ms that
 * the file SKEIN_CHAOS_CLOCK holds now. Threads load it too. Nothing else loads it.
 */
import fs from 'node:fs'

const file = process.env['SKEIN_CHAOS_CLOCK']
const lookAgainMs = 50

if (file !== undefined) {
  const RealDate = globalThis.Date
  let aheadMs = 0
  let lookedMs = Number.NEGATIVE_INFINITY
  const now = () => {
    if (performance.now() - lookedMs > lookAgainMs) {
      lookedMs = performance.now()
      aheadMs = readAhead(file)
    }
    return RealDate.now() + aheadMs
  }
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
    apply: () => new RealDate(now()).toString(),
    get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
  })
}

function readAhead(path: string): number {
  try {
    return Number(fs.readFileSync(path, 'utf8')) || 0
  } catch {
    return 0
  }
}
