/** A run of real processes with a bad network between them, for `skein chaos` and for tests. */
export { Cluster, type ClusterOptions } from './cluster.ts'
export { ClusterNetwork, coordinatorNode } from './cluster-network.ts'
export { type FrameHit, type FramePlace, FrameWatch } from './frame-watch.ts'
