import { dtypeBytes } from '@skein/core'
import type { AlgorithmChoice } from './algorithm-choice.ts'
import { wrongArgument } from './check-group.ts'
import { checkCounts } from './check-op.ts'
import type { AllToAllOptions, OpOptions } from './collectives.ts'
import { countsExchange } from './counts-exchange.ts'
import type { Executor, OpSlot } from './executor.ts'
import type { Algorithm } from './op-kind.ts'
import type { OpMaker } from './op-maker.ts'
import type { OpParts, OpResult } from './op-run.ts'
import { planOf } from './plan-of.ts'
import { compileProgram, type ProgramCache } from './rank-program.ts'
import { regionBytes, type TensorRegion } from './region.ts'

/** What an all-to-all needs of its group. */
export interface AllToAllGroup {
  readonly rank: number
  readonly ranks: number
  readonly hosts: readonly number[] | undefined
  readonly memory: WebAssembly.Memory
  readonly executor: Executor
  readonly ops: OpMaker
  readonly choice: AlgorithmChoice
  readonly programs: ProgramCache
  takeOpSeq(channel: number): number
  start(parts: OpParts, options: OpOptions, slot?: OpSlot): Promise<OpResult>
}

/** Blocks of one size to and from every rank. @throws SKEIN_COLLECTIVE_ARGUMENT where there is no such size */
export async function equalAllToAll(
  group: AllToAllGroup,
  input: TensorRegion,
  output: TensorRegion,
  options: AllToAllOptions,
  channel: number,
): Promise<OpResult> {
  const { ranks, hosts, ops, choice, programs } = group
  const size = input.elems / ranks
  if (!Number.isInteger(size) || output.elems !== input.elems) {
    const what = `an all-to-all of ${input.elems} elements to ${output.elems} among ${ranks} ranks has no equal blocks`
    throw wrongArgument(what, { input: input.elems, output: output.elems })
  }
  const algorithm = options.algorithm ?? choice.choose('all-to-all', regionBytes(input))
  const program = programs.get(`all-to-all ${algorithm} ${size} ${dtypeBytes[input.dtype]}`, () =>
    planOf({
      kind: 'all-to-all',
      algorithm,
      ranks,
      elems: input.elems,
      segmentElems: choice.segmentElems(input),
      ...(hosts === undefined ? {} : { hosts }),
    }),
  )
  const elems = input.elems * ranks
  return group.start(ops.apart({ input, output, program, channel, algorithm: algorithm as Algorithm, elems }), options)
}

/**
 * Blocks of the sizes that each rank says. The counts go round first, as an all-gather in the pool. Both ops take their numbers, and their places in the
 * order of the channel, now: what is issued meanwhile comes after them on every rank.
 * @throws SKEIN_COLLECTIVE_ARGUMENT; where the output is not of the size that comes in, the group ends with it
 */
export async function variableAllToAll(
  group: AllToAllGroup,
  input: TensorRegion,
  output: TensorRegion,
  options: AllToAllOptions & { readonly counts: readonly number[] },
  channel: number,
): Promise<OpResult> {
  const { rank, ranks, memory, executor, ops, choice, programs } = group
  const { counts, algorithm = 'pairwise' } = options
  checkCounts(counts, ranks, input.elems, algorithm)
  const takeOpSeq = () => group.takeOpSeq(channel)
  const exchange = countsExchange({
    rank,
    ranks,
    channel,
    reads: [input],
    writes: [output],
    counts,
    memory,
    ops,
    programs,
    takeOpSeq,
  })
  const exchanged = group.start(exchange.parts, options)
  const opSeq = takeOpSeq()
  const slot = executor.reserve(channel)
  await exchanged
  const matrix = exchange.matrix()
  const receivedCounts = matrix.map(row => row[rank] as number)
  const received = receivedCounts.reduce((sum, count) => sum + count, 0)
  if (received !== output.elems) {
    // The others have begun: this rank cannot stay out of it alone.
    const error = wrongArgument(
      `rank ${rank} gave an all-to-all an output of ${output.elems} elements, and ${received} come in`,
      { rank, received, receivedCounts },
    )
    executor.fail(rank, error)
    throw error
  }
  const segmentElems = choice.segmentElems(input)
  const plan = planOf({ kind: 'all-to-all', algorithm, ranks, elems: input.elems, counts: matrix, segmentElems })
  const parts = ops.apart({
    input,
    output,
    program: compileProgram(plan.ops[rank] ?? [], { space: plan.spaces?.[rank] }),
    channel,
    algorithm: algorithm as Algorithm,
    elems: plan.elems,
    opSeq,
  })
  return { ...(await group.start(parts, options, slot)), receivedCounts }
}
