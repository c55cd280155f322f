#!/usr/bin/env node
// The entry of `skein`. Loads next to nothing itself: each command imports what it needs when it runs.
import module from 'node:module'

module.enableCompileCache?.()
const { runCommandLine } = await import('./program.ts')
process.exit(await runCommandLine(process.argv.slice(2)))
