/*
 * A model that is cut in `parts` has a worker for each of them, `parts` workers are a replica, and parts vary fastest along the ranks:
 * rank = replica · parts + part. Ranks of the same part hold the same state.
 */

export const partOf = (rank: number, parts: number): number => rank % parts

export const replicaOf = (rank: number, parts: number): number => Math.floor(rank / parts)
