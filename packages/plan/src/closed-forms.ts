import { ranksByHost } from './hierarchical.ts'
import { isPowerOfTwo } from './options.ts'

/**
 * What lies on the longest path of an algorithm: its time is rounds · α + bytes · β + messages · cost of one, and `added` bytes are
 * added after they have arrived, while nothing else arrives.
 */
export interface Path {
  readonly rounds: number
  readonly bytes: number
  readonly messages: number
  readonly added?: number
  /** Whether the bytes come from several ranks at once. */
  readonly isIncast?: boolean
  /** The part of it within hosts. */
  readonly within?: { readonly rounds: number; readonly bytes: number }
}

export interface FormSizes {
  readonly ranks: number
  readonly bytes: number
  readonly segmentBytes: number
  readonly hosts: readonly number[] | undefined
}
/** Undefined where the algorithm cannot be used. */
export type Form = (sizes: FormSizes) => Path | undefined

const lgUp = (n: number) => Math.ceil(Math.log2(n))
const lgDown = (n: number) => Math.floor(Math.log2(n))
/** 1 where N is no power of two. */
const folds = (n: number) => (lgUp(n) === lgDown(n) ? 0 : 1)

/** Of so many passes, whether the first one adds. */
type PassesForm = (passes: number, adds?: 'adds') => Form

const ringLike: PassesForm =
  (passes, adds) =>
  ({ ranks, bytes }) => {
    const rounds = passes * (ranks - 1)
    const added = adds === undefined ? 0 : ((ranks - 1) * bytes) / ranks
    return { rounds, bytes: (rounds * bytes) / ranks, messages: 2 * rounds, added }
  }
const directLike: PassesForm =
  (passes, adds) =>
  ({ ranks, bytes }) => ({
    rounds: ranks === 1 ? 0 : passes,
    bytes: (passes * (ranks - 1) * bytes) / ranks,
    messages: 2 * passes * (ranks - 1),
    added: adds === undefined || ranks === 1 ? 0 : bytes / ranks,
    isIncast: ranks > 2,
  })
const treeLike: PassesForm =
  (passes, adds) =>
  ({ ranks, bytes }) => {
    const rounds = passes * lgUp(ranks)
    return { rounds, bytes: rounds * bytes, messages: 2 * rounds, added: adds === undefined ? 0 : lgUp(ranks) * bytes }
  }
/** ⌈lg N⌉ rounds in which what is sent doubles, or halves: all but one block in the end. */
const doublingLike: PassesForm =
  (_passes, adds) =>
  ({ ranks, bytes }) => {
    const moved = ((ranks - 1) * bytes) / ranks
    return { rounds: lgUp(ranks), bytes: moved, messages: 2 * lgUp(ranks), added: adds === undefined ? 0 : moved }
  }
const forPowersOfTwo =
  (form: Form): Form =>
  sizes =>
    isPowerOfTwo(sizes.ranks) ? form(sizes) : undefined

/** The closed forms, by kind and algorithm: reference section 1 of Thakur, Rabenseifner & Gropp 2005; Sanders et al. 2009; Bruck et al. 1997. */
export const closedForms = {
  'all-reduce': {
    ring: ringLike(2, 'adds'),
    direct: directLike(2, 'adds'),
    tree: treeLike(2, 'adds'),
    star: ({ ranks, bytes }) => ({
      rounds: ranks === 1 ? 0 : 2,
      bytes: 2 * (ranks - 1) * bytes,
      messages: 2 * (ranks - 1),
      added: ranks === 1 ? 0 : bytes,
      isIncast: ranks > 2,
    }),
    'recursive-doubling': ({ ranks, bytes }) => {
      const rounds = lgDown(ranks) + 2 * folds(ranks)
      return { rounds, bytes: rounds * bytes, messages: 2 * rounds, added: (lgDown(ranks) + folds(ranks)) * bytes }
    },
    'halving-doubling': ({ ranks, bytes }) => {
      const survivors = 2 ** lgDown(ranks)
      const rounds = 2 * lgDown(ranks) + 2 * folds(ranks)
      return {
        rounds,
        bytes: (2 * (survivors - 1) * bytes) / survivors + 2 * folds(ranks) * bytes,
        messages: 2 * rounds,
        added: ((survivors - 1) * bytes) / survivors + folds(ranks) * bytes,
      }
    },
    'double-tree': ({ ranks, bytes, segmentBytes }) => {
      const rounds = 2 * lgUp(ranks)
      const pieces = Math.ceil(bytes / segmentBytes)
      return {
        rounds,
        bytes: 2 * bytes + rounds * Math.min(segmentBytes, bytes / 2),
        messages: 2 * (rounds + 2 * pieces),
        added: lgUp(ranks) * Math.min(segmentBytes, bytes / 2),
      }
    },
    hierarchical: ({ ranks, bytes, hosts }) => {
      if (hosts?.length !== ranks) return undefined
      const sizes = ranksByHost(hosts).map(list => list.length)
      const most = Math.max(...sizes)
      const areEqual = sizes.every(size => size === most)
      // What crosses: a block of each rank's host, or all of it by a leader.
      const crossing = (areEqual ? bytes / most : bytes) / sizes.length
      const across = 2 * (sizes.length - 1)
      const within = areEqual
        ? { rounds: 2 * (most - 1), bytes: (2 * (most - 1) * bytes) / most }
        : { rounds: 2 * lgUp(most), bytes: 2 * lgUp(most) * bytes }
      return {
        rounds: across,
        bytes: across * crossing,
        messages: 2 * (across + within.rounds),
        added: (across * crossing + within.bytes) / 2,
        within,
      }
    },
  },
  'reduce-scatter': {
    ring: ringLike(1, 'adds'),
    direct: directLike(1, 'adds'),
    halving: forPowersOfTwo(doublingLike(1, 'adds')),
  },
  'all-gather': {
    ring: ringLike(1),
    direct: directLike(1),
    bruck: doublingLike(1),
    doubling: forPowersOfTwo(doublingLike(1)),
  },
  broadcast: { tree: treeLike(1) },
  reduce: { tree: treeLike(1, 'adds') },
  gather: { direct: directLike(1), tree: doublingLike(1) },
  scatter: { direct: directLike(1), tree: doublingLike(1) },
  'all-to-all': {
    pairwise: ({ ranks, bytes }) => ({
      rounds: ranks - 1,
      bytes: ((ranks - 1) * bytes) / ranks,
      messages: 2 * (ranks - 1),
    }),
    direct: directLike(1),
    bruck: ({ ranks, bytes }) => {
      let blocks = 0
      for (let bit = 1; bit < ranks; bit *= 2) for (let i = 1; i < ranks; i++) if (i & bit) blocks++
      return { rounds: lgUp(ranks), bytes: (blocks * bytes) / ranks, messages: 2 * lgUp(ranks) }
    },
    'two-level': ({ ranks, bytes, hosts }) => {
      const sizes = hosts?.length === ranks ? ranksByHost(hosts).map(list => list.length) : []
      const perHost = sizes[0]
      if (perHost === undefined || sizes.some(size => size !== perHost)) return undefined
      const numHosts = sizes.length
      return {
        rounds: numHosts > 1 ? 1 : 0,
        bytes: ((numHosts - 1) * bytes) / numHosts,
        messages: 2 * (numHosts - 1 + perHost - 1),
        within: { rounds: perHost > 1 ? 1 : 0, bytes: ((perHost - 1) * bytes) / perHost },
      }
    },
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Form>>>>
