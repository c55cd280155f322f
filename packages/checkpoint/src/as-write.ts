import { SkeinError } from '@skein/core'
import { CheckpointErrors } from './errors.ts'

/** Runs what writes a checkpoint; what goes wrong with the medium is told as what it means for the checkpoint. @throws SKEIN_CHECKPOINT_WRITE */
export async function asWrite<T>(
  { root, name, signal }: { readonly root: string; readonly name: string; readonly signal?: AbortSignal | undefined },
  write: () => Promise<T>,
): Promise<T> {
  try {
    return await write()
  } catch (cause) {
    if (signal?.aborted === true) throw cause
    if (cause instanceof SkeinError && cause.code !== CheckpointErrors.S3.code) throw cause
    throw writeError(root, name, cause)
  }
}

function writeError(root: string, name: string, cause: unknown): SkeinError {
  const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const known: Readonly<Record<string, string>> = {
    ENOSPC: 'the disk is full',
    EDQUOT: 'the quota of this user is used up',
    EFBIG: 'the file would be larger than the limit of this process (ulimit -f) or of the file system',
    EACCES: 'the folder is not writable for this user',
    EROFS: 'the file system is read-only',
    ENOTDIR: 'a part of the path is a file',
  }
  const why = cause instanceof SkeinError ? cause.why : known[errno]
  const said = cause instanceof SkeinError ? cause.what : cause instanceof Error ? cause.message : String(cause)
  return new SkeinError(CheckpointErrors.WRITE, {
    what: `the checkpoint ${name} could not be written to ${root}: ${said}`,
    ...(why === undefined ? {} : { why }),
    todo: 'free space or give another place (checkpoint.to, checkpoint.dir); older checkpoints are untouched',
    details: { root, name, errno },
    cause,
  })
}
