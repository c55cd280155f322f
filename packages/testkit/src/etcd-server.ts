import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePort } from './free-port.ts'

/** A real etcd on loopback, with a folder of its own. */
export interface EtcdServer extends AsyncDisposable {
  /** Of its clients. */
  readonly url: string
}

export interface EtcdOptions {
  /** Where it is used up, etcd takes nothing more. Default: its own, 2 GB. */
  readonly quotaBytes?: number
}

const startMs = 20_000

/** Starts one on free ports. Undefined, with a loud line, where there is no `etcd` on the PATH (Debian: apt-get install etcd-server). */
export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdServer | undefined> {
  if (spawnSync('etcd', ['--version'], { stdio: 'ignore' }).error !== undefined) {
    process.stderr.write('\n!!!! ETCD TESTS ARE SKIPPED: no etcd on the PATH (apt-get install etcd-server)\n\n')
    return undefined
  }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-etcd-'))
  const [client, peer] = [await freePort(), await freePort()]
  const url = `http://127.0.0.1:${client}`
  const peerUrl = `http://127.0.0.1:${peer}`
  const child = spawn(
    'etcd',
    [
      '--data-dir',
      folder,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      ...(options.quotaBytes === undefined ? [] : [`--quota-backend-bytes=${options.quotaBytes}`]),
    ],
    { stdio: 'ignore' },
  )
  const ended = once(child, 'exit')
  const server: EtcdServer = {
    url,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
      fs.rmSync(folder, { recursive: true, force: true })
    },
  }
  const deadlineMs = performance.now() + startMs
  while (!(await isHealthy(url))) {
    if (performance.now() > deadlineMs || child.exitCode !== null) {
      await server[Symbol.asyncDispose]()
      throw new Error(`etcd does not answer at ${url}`)
    }
    await new Promise(resolve => setTimeout(resolve, 50))
  }
  return server
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(1_000) })
    return ((await response.json()) as { readonly health?: string }).health === 'true'
  } catch {
    return false
  }
}
