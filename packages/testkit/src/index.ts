/** Test helpers: seeds, oracles, mutated bytes, temporary folders. Never shipped. */
export { type EtcdServer, startEtcd } from './etcd-server.ts'
export { maxAbsDifference, relativeL2 } from './compare.ts'
export { freePort } from './free-port.ts'
export { fuzzRuns, mutate } from './mutate.ts'
export { testSeed, useTestSeed } from './seed.ts'
export { type S3Server, startS3Server } from './s3-server.ts'
export { temporaryFolder } from './temp.ts'
