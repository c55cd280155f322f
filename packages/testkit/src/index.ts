/** Test helpers: seeds, oracles, temporary folders. Never shipped. */
export { maxAbsDifference, relativeL2 } from './compare.ts'
export { testSeed, useTestSeed } from './seed.ts'
export { temporaryFolder } from './temp.ts'
