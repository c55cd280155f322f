import { type CodecName, codecOf } from './codec.ts'
import { decodePrime8, encodePrime8 } from './prime8.ts'
import { codecTwin } from './twins.ts'

/** What a chunk is after it was encoded, sent and decoded; a new array. */
export type RoundTrip = (chunk: Float32Array) => Float32Array<ArrayBuffer>

export function roundTripOf(name: CodecName | 'prime8'): RoundTrip {
  if (name === 'prime8') return chunk => decodePrime8(encodePrime8(chunk))
  const twin = codecTwin(name)
  const codec = codecOf(name)
  return chunk => {
    const copy = Float32Array.from(chunk)
    twin.encode(new Uint8Array(codec.encodedBytes(chunk.length)), copy)
    return copy
  }
}

/** Elements [from, to) of chunk `index` of `chunks`. */
export function chunkRange(elems: number, chunks: number, index: number): readonly [from: number, to: number] {
  return [Math.floor((elems * index) / chunks), Math.floor((elems * (index + 1)) / chunks)]
}

/**
 * All-reduce by a ring that encodes at every hop, in memory: the sum of `inputs`, each [elems], as every rank ends up with it. Chunk
 * c starts at rank c+1 and is encoded N times: by N-1 ranks on its way, and by its owner for the all-gather, which passes the
 * owner's bytes on as they are. The relative error grows as √((N+1)/2).
 */
export function ringAllReduceModel(inputs: readonly Float32Array[], roundTrip: RoundTrip): Float32Array<ArrayBuffer> {
  return byChunks(inputs, (pieces, owner) => {
    const ranks = pieces.length
    let partial = Float32Array.from(pieces[(owner + 1) % ranks] as Float32Array)
    for (let hop = 2; hop <= ranks; hop++) {
      partial = roundTrip(partial)
      add(partial, pieces[(owner + hop) % ranks] as Float32Array)
    }
    return roundTrip(partial)
  })
}

/**
 * All-reduce by an all-to-all of encoded chunks, in memory: owner c adds what it decodes from the others to its own chunk, and
 * encodes the sum once, for all. Two encodings whatever N is: the relative error does not grow with it.
 * @see Wang et al. 2023 (ZeRO++)
 */
export function allToAllAllReduceModel(
  inputs: readonly Float32Array[],
  roundTrip: RoundTrip,
): Float32Array<ArrayBuffer> {
  return byChunks(inputs, (pieces, owner) => {
    const sum = Float32Array.from(pieces[owner] as Float32Array)
    for (let hop = 1; hop < pieces.length; hop++) {
      add(sum, roundTrip(pieces[(owner + hop) % pieces.length] as Float32Array))
    }
    return roundTrip(sum)
  })
}

/** Joins the chunks that `reduce` makes of the ranks' pieces; a rank alone sends nothing, so nothing is encoded. */
function byChunks(
  inputs: readonly Float32Array[],
  reduce: (pieces: readonly Float32Array[], owner: number) => Float32Array,
): Float32Array<ArrayBuffer> {
  const elems = inputs[0]?.length ?? 0
  const result = Float32Array.from(inputs[0] ?? [])
  if (inputs.length === 1) return result
  for (let chunk = 0; chunk < inputs.length; chunk++) {
    const [from, to] = chunkRange(elems, inputs.length, chunk)
    result.set(
      reduce(
        inputs.map(input => input.subarray(from, to)),
        chunk,
      ),
      from,
    )
  }
  return result
}

function add(dst: Float32Array, src: Float32Array): void {
  for (let i = 0; i < dst.length; i++) dst[i] = (dst[i] as number) + (src[i] as number)
}
