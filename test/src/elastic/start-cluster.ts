import path from 'node:path'
import { Cluster, type ClusterOptions } from 'skein/chaos'
import { type RunEvent, tinyJob } from '../skein-process.ts'

/** A run in `folder`/run of more steps than any test lets it make, unless it is told otherwise. */
export function startCluster(
  folder: string,
  options: Partial<ClusterOptions> & Pick<ClusterOptions, 'workers'>,
): Promise<Cluster> {
  return Cluster.start({
    jobFile: tinyJob,
    steps: 100_000,
    runDir: path.join(folder, 'run'),
    token,
    threads: 1,
    env: process.env,
    ...options,
  })
}

export const token = 'a-token-of-the-tests'

export const isStep = (event: RunEvent): boolean => event.event === 'step'

export const isMember =
  (workerId: string, change: string) =>
  (event: RunEvent): boolean =>
    event.event === 'member' && event['workerId'] === workerId && event['change'] === change

/** Waits until so many steps are made. */
export const untilStep = (cluster: Cluster, step: number): Promise<RunEvent> =>
  cluster.until(event => isStep(event) && Number(event['step']) >= step, `step ${step}`)
