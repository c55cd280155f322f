import { type CollectivePlan, dependenciesOf, isTransfer, type PlanOp, type RankSpace } from '@skein/plan'

/** One rank's list of a plan, made ready to run many times: shared by all runs, never written. */
export interface RankProgram {
  readonly ops: readonly PlanOp[]
  /** Per op: how many earlier ops it waits for. */
  readonly waits: Int32Array
  /** Per op: the later ops that wait for it. */
  readonly unlocks: readonly (readonly number[])[]
  /** Per op: its number among the sends, or the receives, of its peer. The `chunk` of its frame. */
  readonly chunks: Int32Array
  /** Per send: the receive whose payload it passes on unchanged, else -1. Its checksum is known already. */
  readonly forwards: Int32Array
  /** Copies and encodings that wait for nothing. */
  readonly firstLocals: readonly number[]
  /** How the addresses are divided, where input and output are apart. */
  readonly space: RankSpace | undefined
  /** Copies of the buffer in the addresses, the buffer itself counted. */
  readonly layers: number
  /** Per peer the sends, and the receives, in order. */
  readonly sends: ReadonlyMap<number, Int32Array>
  readonly receives: ReadonlyMap<number, Int32Array>
}

export function compileProgram(
  ops: readonly PlanOp[],
  addresses: { readonly space?: RankSpace | undefined; readonly layers?: number | undefined } = {},
): RankProgram {
  const dependencies = dependenciesOf(ops)
  const unlocks: number[][] = ops.map(() => [])
  const waits = new Int32Array(ops.length)
  const chunks = new Int32Array(ops.length)
  const forwards = new Int32Array(ops.length).fill(-1)
  const sends = new Map<number, number[]>()
  const receives = new Map<number, number[]>()
  const firstLocals: number[] = []
  for (const [index, op] of ops.entries()) {
    const before = dependencies[index] as readonly number[]
    waits[index] = before.length
    for (const earlier of before) unlocks[earlier]?.push(index)
    if (!isTransfer(op)) {
      if (before.length === 0) firstLocals.push(index)
      continue
    }
    const side = op.op === 'send' ? sends : receives
    const lane = side.get(op.peer) ?? []
    side.set(op.peer, lane)
    chunks[index] = lane.length
    lane.push(index)
    if (op.op === 'send' && before.length === 1 && isSameStore(ops[before[0] as number], op)) {
      forwards[index] = before[0] as number
    }
  }
  const frozen = (lanes: Map<number, number[]>) =>
    new Map([...lanes].map(([peer, list]) => [peer, Int32Array.from(list)]))
  return {
    ops,
    waits,
    unlocks,
    chunks,
    forwards,
    firstLocals,
    space: addresses.space,
    layers: addresses.layers ?? 1,
    sends: frozen(sends),
    receives: frozen(receives),
  }
}

function isSameStore(earlier: PlanOp | undefined, send: PlanOp): boolean {
  return earlier?.op === 'recv' && earlier.from === send.from && earlier.to === send.to
}

/** The programs of one rank, compiled at their first use; the least recently used of more than `limit` is forgotten. */
export class ProgramCache {
  readonly #rank: number
  readonly #limit: number
  readonly #programs = new Map<string, RankProgram>()

  constructor(rank: number, limit = 128) {
    this.#rank = rank
    this.#limit = limit
  }

  clear(): void {
    this.#programs.clear()
  }

  get(key: string, plan: () => CollectivePlan): RankProgram {
    return this.#known(key, () => {
      const { ops, spaces, layers } = plan()
      return compileProgram(ops[this.#rank] ?? [], { space: spaces?.[this.#rank], layers })
    })
  }

  /** Of this rank's ops alone, where it knows no more. */
  ofOps(key: string, ops: () => readonly PlanOp[]): RankProgram {
    return this.#known(key, () => compileProgram(ops()))
  }

  #known(key: string, compile: () => RankProgram): RankProgram {
    const known = this.#programs.get(key)
    if (known !== undefined) {
      this.#programs.delete(key)
      this.#programs.set(key, known)
      return known
    }
    const program = compile()
    this.#programs.set(key, program)
    if (this.#programs.size > this.#limit) {
      for (const oldest of this.#programs.keys()) {
        this.#programs.delete(oldest)
        break
      }
    }
    return program
  }
}
