// Checks the order of the packages (docs/architecture.md): imports, package.json and tsconfig references say the same, point down
// by the `skein.layer` number, stay inside a layer only where package.json names it, and make no circle. Exit status 1 with a list if not.

import { root } from './lib/places.mjs'
import { layerProblems, readPackages } from './lib/layers.mjs'

const packages = readPackages(root)
const problems = layerProblems(packages)
for (const problem of problems) process.stderr.write(`layers: ${problem}\n`)
if (problems.length === 0) process.stdout.write(`layers: ${packages.length} packages, each importing downwards only\n`)
process.exitCode = problems.length === 0 ? 0 : 1
