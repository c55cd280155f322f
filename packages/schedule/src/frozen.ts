import { describeOp, type FillOp, isFill, rankOf, type Schedule } from './schedule.ts'

/** Pieces that the samples of all microbatches are cut into for the frozen part of the model. */
export function numPieces({ microbatches, frozen }: Pick<Schedule, 'microbatches' | 'frozen'>): number {
  return microbatches * (frozen?.cuts ?? 0)
}

/** The microbatch whose samples a piece has, among those of all steps; it goes forward a step after the piece was made. */
export function microbatchOfPiece({ frozen }: Pick<Schedule, 'frozen'>, piece: number): number {
  return Math.floor(piece / (frozen?.cuts ?? 1))
}

/** Pieces of a microbatch. */
export function piecesOf({ frozen }: Pick<Schedule, 'frozen'>, microbatch: number): readonly number[] {
  const { cuts = 0 } = frozen ?? {}
  return Array.from({ length: cuts }, (_, cut) => microbatch * cuts + cut)
}

/** Per piece the rank that makes it. */
export function makersOf(schedule: Schedule): ReadonlyMap<number, number> {
  const makers = new Map<number, number>()
  for (const [rank, list] of schedule.ops.entries()) for (const op of list) if (isFill(op)) makers.set(op.piece, rank)
  return makers
}

/** The rank that takes a piece: that of the first stage, in the pipe of its microbatch. */
export function takerOf(schedule: Schedule, piece: number): number {
  return rankOf(schedule, 0, microbatchOfPiece(schedule, piece))
}

/** A layer of a piece that nobody runs. (One that is run twice is doubled.) */
export function findFrozenMissing(schedule: Schedule): string | undefined {
  const { frozen } = schedule
  if (frozen === undefined) return undefined
  const done = new Set(schedule.ops.flat().filter(isFill).map(describeOp))
  for (let piece = 0; piece < numPieces(schedule); piece++) {
    for (let layer = 0; layer < frozen.layers; layer++) {
      const wanted = describeOp({ op: 'fill', layer, piece })
      if (!done.has(wanted)) return `nobody does "${wanted}"`
    }
  }
  return undefined
}

/** A piece whose layers are on several ranks: what is between layers stays where it was made. */
export function findFrozenTorn(schedule: Schedule): string | undefined {
  const makers = new Map<number, number>()
  for (const [rank, list] of schedule.ops.entries()) {
    for (const op of list) {
      if (!isFill(op)) continue
      const maker = makers.get(op.piece) ?? rank
      if (maker !== rank) return `rank ${rank} has "${describeOp(op)}", and rank ${maker} has another layer of it`
      makers.set(op.piece, rank)
    }
  }
  return undefined
}

/** A layer before the one below it. */
export function findFrozenUnsorted(list: Schedule['ops'][number]): string | undefined {
  const done = new Set<string>()
  for (const op of list) {
    if (!isFill(op)) continue
    const below: FillOp = { ...op, layer: op.layer - 1 }
    if (op.layer > 0 && !done.has(describeOp(below))) return `"${describeOp(op)}" stands before "${describeOp(below)}"`
    done.add(describeOp(op))
  }
  return undefined
}

/** The frozen layers by themselves, where they will be in each step: what makes ready what the first step takes. */
export function fillsAlone(schedule: Schedule): Schedule {
  return { ...schedule, name: `${schedule.name} alone`, ops: schedule.ops.map(list => list.filter(isFill)) }
}
