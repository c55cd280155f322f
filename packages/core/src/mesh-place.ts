/*
 * A model that is cut in `parts` has a worker for each of them, `parts` workers are a replica, and parts vary fastest along the ranks:
 * rank = replica · parts + part. Ranks of the same part hold the same state.
 */

export const partOf = (rank: number, parts: number): number => rank % parts

export const replicaOf = (rank: number, parts: number): number => Math.floor(rank / parts)

/** Where states are mirrored: the part of which one that has `part` keeps a copy. Each part is its neighbour's, in a ring. */
export const mirroredPart = (part: number, parts: number): number => (part + 1) % parts

/** The rank of its own replica that has that part. */
export const mirroredRank = (rank: number, parts: number): number =>
  replicaOf(rank, parts) * parts + mirroredPart(partOf(rank, parts), parts)
