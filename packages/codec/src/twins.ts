import type { CodecName } from './codec.ts'
import type { CodecTwin } from './codec-twin.ts'
import { int4Twin, int8Twin } from './twins-blocks.ts'
import { bf16Twin, fp16Twin } from './twins-halves.ts'

const twins: Readonly<Record<CodecName, CodecTwin>> = { int8: int8Twin, int4: int4Twin, fp16: fp16Twin, bf16: bf16Twin }

/** The plain TypeScript form of a codec; slow, for tests, models and places without a shared memory. */
export function codecTwin(name: CodecName): CodecTwin {
  return twins[name]
}
