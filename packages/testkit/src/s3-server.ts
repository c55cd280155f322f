import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { freePort } from './free-port.ts'

/** A real S3 server of this machine: SigV4 is checked, objects are files below `data`. */
export interface S3Server extends AsyncDisposable {
  /** `s3://BUCKET?endpoint=…`; the bucket is there and empty. */
  location(prefix: string): string
  /** Variables that a process needs. */
  readonly environment: Readonly<Record<string, string>>
  /** Where the objects of the bucket lie. */
  readonly folder: string
}

/** Small, pure Python, installed by pip in seconds; checked against the official clients by its own project. */
const server = { name: 'nanio', version: '0.1.7' } as const
const installMs = 60_000
const startMs = 20_000
const bucket = 'skein'

/**
 * Starts one on a free port of loopback, and installs it at the first use in the user's cache. Undefined, with a loud line, where that is not possible: no
 * Python 3.11, no pip, no package index.
 */
export async function startS3Server(): Promise<S3Server | undefined> {
  let packages: string
  try {
    packages = await installed()
  } catch (error) {
    process.stderr.write(
      `\n!!!! NO S3 SERVER HERE, its tests are skipped: ${error instanceof Error ? error.message : String(error)}\n\n`,
    )
    return undefined
  }
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'skein-s3-'))
  fs.mkdirSync(path.join(folder, bucket))
  const port = await freePort()
  const accessKey = randomBytes(8).toString('hex')
  const secretKey = randomBytes(16).toString('hex')
  const child = spawn(
    'python3',
    [
      '-m',
      server.name,
      'serve',
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
      '--data-dir',
      folder,
      '--no-access-log',
    ],
    {
      env: { ...process.env, PYTHONPATH: packages, NANIO_ACCESS_KEY: accessKey, NANIO_SECRET_KEY: secretKey },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2000)
  })
  const dispose = async () => {
    await ended(child)
    fs.rmSync(folder, { recursive: true, force: true })
  }
  const endpoint = `http://127.0.0.1:${port}`
  try {
    await answers(endpoint, child)
  } catch (error) {
    await dispose()
    throw new Error(`the S3 server does not answer at ${endpoint}:\n${said}`, { cause: error })
  }
  return {
    location: prefix => `s3://${bucket}/${prefix}?endpoint=${endpoint}`,
    environment: { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey, AWS_REGION: 'us-east-1' },
    folder: path.join(folder, bucket),
    [Symbol.asyncDispose]: dispose,
  }
}

/** The folder with the server's Python packages. Several processes may come here at once: the first one whole stays. */
async function installed(): Promise<string> {
  const cache = path.join(process.env['XDG_CACHE_HOME'] ?? path.join(os.homedir(), '.cache'), 'skein')
  const place = path.join(cache, `${server.name}-${server.version}`)
  if (fs.existsSync(place)) return place
  fs.mkdirSync(cache, { recursive: true })
  const fresh = fs.mkdtempSync(`${place}.`)
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-input', '--no-warn-conflicts']
  try {
    await finished('python3', [...pip, '--target', fresh, `${server.name}==${server.version}`])
    fs.renameSync(fresh, place)
  } catch (error) {
    if (!fs.existsSync(place)) throw error
  } finally {
    fs.rmSync(fresh, { recursive: true, force: true })
  }
  return place
}

async function finished(program: string, args: readonly string[]): Promise<void> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: installMs, killSignal: 'SIGKILL' })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2000)
  })
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code === 0) resolve()
      else reject(new Error(`${program} ${args.join(' ')} ended with ${code ?? signal}:\n${said}`))
    })
  })
}

async function answers(endpoint: string, child: ChildProcess): Promise<void> {
  const deadlineMs = performance.now() + startMs
  for (;;) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`)
    try {
      // Refused for want of a signature, but answered.
      await (await fetch(endpoint)).body?.cancel()
      return
    } catch (error) {
      if (performance.now() > deadlineMs) throw error
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = new Promise(resolve => child.once('close', resolve))
  child.kill('SIGKILL')
  await closed
}
