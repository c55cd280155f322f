/**
 * node:sqlite, without the ExperimentalWarning that Node 22 and 24 print when it is first loaded. Other warnings pass.
 * The module is loaded at the first call, not at import time.
 */
export function loadSqlite(): typeof import('node:sqlite') {
  const emitWarning = Reflect.get(process, 'emitWarning') as (...rest: unknown[]) => void
  process.emitWarning = ((warning: string | Error, ...rest: unknown[]) => {
    if (String(warning).includes('SQLite is an experimental feature')) return
    Reflect.apply(emitWarning, process, [warning, ...rest])
  }) as typeof process.emitWarning
  try {
    return process.getBuiltinModule('node:sqlite')
  } finally {
    process.emitWarning = emitWarning as typeof process.emitWarning
  }
}
