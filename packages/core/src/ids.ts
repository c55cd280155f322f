/** Branded ids: the compiler refuses a rank where a generation is wanted. All are plain values at run time. */
type Brand<T, Name extends string> = T & { readonly __brand: Name }

/** A lasting name of a worker, chosen by its operator or drawn at its first start. */
export type WorkerId = Brand<string, 'WorkerId'>
/** A random name of one process life of a worker; a restarted worker keeps its workerId and gets a new incarnation. */
export type Incarnation = Brand<string, 'Incarnation'>
/** A job's life, and the name of its folder. */
export type RunId = Brand<string, 'RunId'>
/** One fixed membership; rises by one at every change. The first is 1. */
export type Generation = Brand<number, 'Generation'>
/** A place in one generation: 0 … worldSize-1. Means nothing outside it. */
export type Rank = Brand<number, 'Rank'>
/** Number of a collective within one generation and group, the same on every rank. */
export type OpSeq = Brand<number, 'OpSeq'>
/** An optimizer step. Step s is the one that makes the parameters "after step s"; the first is 1, step 0 is the start. */
export type Step = Brand<number, 'Step'>

export const workerId = (value: string) => value as WorkerId
export const incarnation = (value: string) => value as Incarnation
export const runId = (value: string) => value as RunId
export const generation = (value: number) => value as Generation
export const rank = (value: number) => value as Rank
export const opSeq = (value: number) => value as OpSeq
export const step = (value: number) => value as Step
