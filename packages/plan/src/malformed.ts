import { cellsOf, rangesOf } from './cells.ts'
import { addressSpace, type CollectivePlan, describeOp, isSamePlace, isTransfer, type PlanOp } from './plan.ts'

/** What is wrong with a plan before anything has run: sizes that cannot be, or an op that is impossible whatever the others do. */
export function findMalformed(plan: CollectivePlan): string | undefined {
  const wrongSizes = findWrongSizes(plan)
  if (wrongSizes !== undefined) return wrongSizes
  for (const [rank, ops] of plan.ops.entries()) {
    for (const [index, op] of ops.entries()) {
      const wrong = wrongPlace(plan, rank, op)
      if (wrong !== undefined) return describeWrong(rank, index, op, wrong)
    }
  }
  return undefined
}

/** An encoding of which a part is of no use: it changes, or the list ends, before a send takes it. Of a well-formed plan. */
export function findUselessEncoding(plan: CollectivePlan): string | undefined {
  for (const [rank, ops] of plan.ops.entries()) {
    const index = unsentEncoding(ops)
    if (index === undefined) continue
    return describeWrong(rank, index, ops[index] as PlanOp, 'encodes what is not sent before it changes')
  }
  return undefined
}

function describeWrong(rank: number, index: number, op: PlanOp, wrong: string): string {
  return `op ${index} of rank ${rank}, "${describeOp(op)}", ${wrong}`
}

const isCount = (n: number) => Number.isSafeInteger(n) && n >= 0

function findWrongSizes(plan: CollectivePlan): string | undefined {
  const { collective, ranks, elems, ops, spaces, layers = 1 } = plan
  if (!isCount(ranks) || ranks < 1) return `there are ${ranks} ranks`
  if (!isCount(elems)) return `there are ${elems} elements`
  if (!isCount(layers) || layers < 1 || !Number.isSafeInteger(elems * layers)) {
    return `there are ${layers} copies of the buffer`
  }
  if (ops.length !== ranks) return `there are ${ops.length} lists for ${ranks} ranks`
  if (collective.kind === 'barrier' && elems > 0) return `a barrier has ${elems} elements`
  if ('root' in collective && !(isCount(collective.root) && collective.root < ranks)) {
    return `rank ${collective.root} is the root, and is not there`
  }
  if ((spaces !== undefined) !== (collective.kind === 'all-to-all')) {
    return `input and output of ${collective.kind} are ${spaces === undefined ? 'one' : 'apart'}`
  }
  return spaces === undefined ? undefined : findWrongSpaces(plan, spaces)
}

function findWrongSpaces(plan: CollectivePlan, spaces: NonNullable<CollectivePlan['spaces']>): string | undefined {
  const { collective, ranks, layers } = plan
  if (layers !== undefined) return 'addresses that are divided have no copies of a buffer'
  if (spaces.length !== ranks) return `there are ${spaces.length} address spaces for ${ranks} ranks`
  const counts = collective.kind === 'all-to-all' ? collective.counts : []
  if (counts.length !== ranks || counts.some(row => row.length !== ranks || !row.every(isCount))) {
    return `the counts are no square of ${ranks} by ${ranks} whole numbers`
  }
  const incoming = Array<number>(ranks).fill(0)
  for (const row of counts) for (const [dst, count] of row.entries()) incoming[dst] = (incoming[dst] as number) + count
  for (const [rank, space] of spaces.entries()) {
    const { inputElems, outputElems, scratchElems } = space
    const outgoing = (counts[rank] as readonly number[]).reduce((sum, count) => sum + count, 0)
    if (inputElems !== outgoing) return `the input of rank ${rank} has ${inputElems} elements, its counts ${outgoing}`
    if (outputElems !== incoming[rank]) {
      return `the output of rank ${rank} has ${outputElems} elements, its counts ${incoming[rank]}`
    }
    if (!isCount(scratchElems) || !Number.isSafeInteger(addressSpace(plan, rank))) {
      return `rank ${rank} has ${scratchElems} elements of scratch`
    }
  }
  return undefined
}

function wrongPlace(plan: CollectivePlan, rank: number, op: PlanOp): string | undefined {
  const { from, to } = op
  const end = addressSpace(plan, rank)
  if (!Number.isInteger(from) || !Number.isInteger(to) || from < 0 || from > to || to > end) {
    return `leaves the buffer [0,${end})`
  }
  if (isTransfer(op)) {
    const { peer } = op
    if (!Number.isInteger(peer) || peer < 0 || peer >= plan.ranks) return 'names a rank that is not there'
    if (peer === rank) return 'is addressed to itself'
    if (from === to && op.op === 'recvReduce') return 'adds nothing'
  } else if (from === to) return 'does nothing'
  if (plan.spaces === undefined && from < to && Math.floor(from / plan.elems) < Math.floor((to - 1) / plan.elems)) {
    return 'crosses from one copy of the buffer into another'
  }
  if (op.op === 'copy' || op.op === 'reduce') {
    if (plan.spaces === undefined && !isSamePlace(plan, op.at, from)) return 'moves an element from its place'
    const size = to - from
    if (!Number.isInteger(op.at) || op.at < 0 || op.at + size > end) return `leaves the buffer [0,${end})`
    if (op.at < to && from < op.at + size) return 'touches its own source'
  }
  const space = plan.spaces?.[rank]
  if (space === undefined) return undefined
  if (op.op === 'recvReduce' || op.op === 'encode' || op.op === 'reduce')
    return 'has no meaning where elements only move'
  const { inputElems, outputElems } = space
  const crosses = (a: number, b: number) =>
    [inputElems, inputElems + outputElems].some(border => a < border && border < b)
  if (crosses(from, to) || (op.op === 'copy' && crosses(op.at, op.at + to - from))) {
    return 'crosses from one part of the addresses into another'
  }
  const written = op.op === 'copy' ? op.at : op.op === 'recv' && from < to ? from : inputElems
  return written < inputElems ? 'writes the input' : undefined
}

function unsentEncoding(ops: readonly PlanOp[]): number | undefined {
  if (!ops.some(op => op.op === 'encode')) return undefined
  const cells = cellsOf(ops)
  /** Per cell the encoding that waits for its send, else -1. */
  const waiting = new Int32Array(cells.count).fill(-1)
  for (const [index, op] of ops.entries()) {
    const { reads, writes } = rangesOf(op)
    if (op.op === 'send' && reads !== undefined) waiting.fill(-1, ...cells.of(reads))
    if (writes === undefined) continue
    const [first, last] = cells.of(writes)
    const unsent = waiting.subarray(first, last).find(encoding => encoding >= 0)
    if (unsent !== undefined) return unsent
    waiting.fill(op.op === 'encode' ? index : -1, first, last)
  }
  return waiting.find(encoding => encoding >= 0)
}
