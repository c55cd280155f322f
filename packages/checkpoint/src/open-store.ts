import { isS3, type StoreEnvironment } from './location.ts'
import { localStore } from './local-store.ts'
import { s3Store } from './s3-store.ts'
import type { CheckpointStore } from './store.ts'

/** The store at a location: a folder, or `s3://BUCKET/PREFIX` with the AWS variables of `environment`. @throws SKEIN_CHECKPOINT_S3 */
export function openStore(location: string, environment: StoreEnvironment): CheckpointStore {
  return isS3(location) ? s3Store(location, environment) : localStore(location)
}
