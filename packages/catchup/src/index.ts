/**
 * How a newcomer gets the training state while the others train on: chunks of the state from several peers at once, then the updates of each
 * further step, repeated here.
 *
 * @example
 * const server = new StateServer({ onFollower })               // at a member; serve(state), open(generation, token), committed(…)
 * const source = new HttpSource({ name, address, generation, token })   // at the newcomer
 * await new Follower({ state, simd }).follow([source], committed, signal, held => tell(held))
 */
export { type Chunk, chunkElems, chunksOf } from './chunks.ts'
export { CatchupErrors } from './errors.ts'
export { fetchCopy } from './fetch-copy.ts'
export { Follower, type FollowerOptions } from './follower.ts'
export { HttpSource, type HttpSourceOptions } from './http-source.ts'
export { KeptCopies } from './kept-copies.ts'
export { type SharedState, SlotSteps, type StateSlots } from './shared-state.ts'
export type { ChunkAnswer, CopyPlace, CopySource, CopyStanding, Standing, StateSource } from './source.ts'
export { StateServer, type StateServerOptions } from './state-server.ts'
export { statePath } from './state-request.ts'
export { allocateHistory, historyDepth, type SharedHistory, UpdateHistory } from './update-history.ts'
