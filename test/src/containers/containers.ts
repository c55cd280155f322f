import type { Readable } from 'node:stream'
import { GenericContainer, getContainerRuntimeClient, Network, type StartedTestContainer, Wait } from 'testcontainers'
import type { RunEvent } from '../skein-process.ts'
import { coordinatorArgs, followRun, type SameRun, workerArgs } from './processes.ts'

const port = 7070
const jobInImage = '/opt/skein/packages/examples/gpt-tiny.job.ts'
const startMs = 60_000

/** Why containers cannot be run here, or undefined when they can. */
export async function whyNoContainers(image: string | undefined): Promise<string | undefined> {
  try {
    await getContainerRuntimeClient()
  } catch {
    return 'no Docker daemon answers (apt-get install docker.io, or set DOCKER_HOST)'
  }
  return image === undefined ? 'SKEIN_IMAGE is not set (docker/build.sh, then SKEIN_IMAGE=skein:local)' : undefined
}

/**
 * Coordinator and workers in containers of `image` on a network of their own; returns the run's events. Removes all of
 * them, whatever happened; when it fails, the error holds what each container said.
 */
export async function runInContainers(run: SameRun, image: string): Promise<RunEvent[]> {
  // The reaper is an image of its own, which is not to be had without an image registry.
  process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'
  const network = await new Network().start()
  const said = new Map<string, string[]>()
  const container = (name: string, command: string[]) =>
    new GenericContainer(image)
      .withCommand(command)
      .withEnvironment({ SKEIN_TOKEN: run.token })
      .withNetwork(network)
      .withNetworkAliases(name)
      .withStartupTimeout(startMs)
      .withLogConsumer(stream => keepLastLines(stream, said, name))
  const started: StartedTestContainer[] = []
  try {
    const coordinator = await container('coordinator', [
      ...coordinatorArgs(run, jobInImage),
      '--host=0.0.0.0',
      `--port=${port}`,
      '--run-dir=/runs/run',
    ])
      .withExposedPorts(port)
      .withWaitStrategy(Wait.forHealthCheck())
      .start()
    started.push(coordinator)
    const events = followRun(`http://${coordinator.getHost()}:${coordinator.getMappedPort(port)}`, run)
    events.catch(() => undefined)
    for (let i = 0; i < run.workers; i++) {
      const command = [...workerArgs(`http://coordinator:${port}`, `w${i}`), '--host', '0.0.0.0']
      // A worker is waited for by the coordinator, not by the test.
      started.push(await container(`w${i}`, command).withWaitStrategy(Wait.forAll([])).start())
    }
    return await events
  } catch (cause) {
    const words = [...said].map(([name, lines]) => `--- ${name}\n${lines.join('\n')}`).join('\n')
    throw new Error(`the run in containers failed: ${String(cause)}\n${words}`, { cause })
  } finally {
    await Promise.allSettled(started.map(one => one.stop({ timeout: 5000, remove: true, removeVolumes: true })))
    await network.stop()
  }
}

const linesKept = 40

function keepLastLines(stream: Readable, said: Map<string, string[]>, name: string): void {
  const lines: string[] = []
  said.set(name, lines)
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    lines.push(...text.split('\n').filter(line => line !== ''))
    lines.splice(0, lines.length - linesKept)
  })
}
