#!/usr/bin/env node
// The entry of `skein`. Loads next to nothing itself: each command imports what it needs when it runs.
import module from 'node:module'

module.enableCompileCache?.()
// Whoever reads may go first: `| head`, a terminal that is closed. What trains goes on unseen, with its own end in mind; whatever only tells is done.
const trains = ['train', 'chaos', 'coordinator', 'worker'].includes(process.argv[2] ?? '')
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => trains || process.exit(0))

const { runCommandLine } = await import('./program.ts')
process.exit(await runCommandLine(process.argv.slice(2)))
