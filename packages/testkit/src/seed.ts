import fc from 'fast-check'

/**
 * The seed of this test run: SKEIN_SEED, or a fresh one. Printed once, so that any failure can be run again with
 * `SKEIN_SEED=<n> npm test`.
 */
export const testSeed: number = Number(process.env['SKEIN_SEED'] ?? Math.floor(Math.random() * 0x7fff_ffff))

/** Makes every fast-check property of this file use the printed seed; call it once at the top of a test file. */
export function useTestSeed(): number {
  console.info(`seed ${testSeed}`)
  fc.configureGlobal({ seed: testSeed })
  return testSeed
}
