import { defineConfig } from 'vitest/config'

// Tests are compiled by `tsc -b` with everything else and run from dist: one build, type-checked, and worker
// threads and child processes load the very files that ship.
export default defineConfig({
  test: {
    include: ['packages/*/dist/**/*.test.js', 'test/dist/**/*.test.js'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    reporters: ['default', ['json', { outputFile: 'test-results/vitest.json' }]],
  },
})
