import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { userCacheDir } from '@skein/device'

export interface TorchPython {
  readonly python: string
  /** Of torch. */
  readonly version: string
}

const probeTimeoutMs = 120_000
const installTimeoutMs = 30 * 60_000

/**
 * A Python that has torch: the one in SKEIN_BENCH_PYTHON, else one of the bench's own, made in the user's cache at the first use
 * (a few GB, minutes). @throws when the given one has no torch or the installation fails
 */
export async function torchPython(
  report: (line: string) => void,
  given: string | undefined = process.env['SKEIN_BENCH_PYTHON'],
): Promise<TorchPython> {
  if (given !== undefined && given !== '') {
    const version = await torchVersion(given)
    if (version !== undefined) return { python: given, version }
    throw new Error(
      `SKEIN_BENCH_PYTHON is ${given}, which cannot import torch and numpy; install them there or unset it`,
    )
  }
  const folder = path.join(userCacheDir(), 'bench-venv')
  const python = path.join(folder, 'bin', 'python')
  const there = await torchVersion(python)
  if (there !== undefined) return { python, version: there }

  // What an interrupted installation left is not mended but made again.
  fs.rmSync(folder, { recursive: true, force: true })
  report(`installing PyTorch for the bench in ${folder} (once; SKEIN_BENCH_PYTHON names a Python that has it)`)
  const started = performance.now()
  const alive = setInterval(
    () => report(`  still installing PyTorch, ${((performance.now() - started) / 1000).toFixed(0)} s`),
    15_000,
  )
  try {
    await output('python3', ['-m', 'venv', folder], installTimeoutMs)
    const pip = ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--quiet', 'torch', 'numpy']
    await output(python, pip, installTimeoutMs)
  } finally {
    clearInterval(alive)
  }
  const version = await torchVersion(python)
  if (version === undefined)
    throw new Error(`torch was installed in ${folder} but cannot be imported; remove that folder`)
  return { python, version }
}

async function torchVersion(python: string): Promise<string | undefined> {
  try {
    return await output(python, ['-c', 'import numpy, torch; print(torch.__version__)'], probeTimeoutMs)
  } catch {
    return undefined
  }
}

/** Standard output of a program, trimmed; rejects with the tail of its stderr when it fails or takes too long. */
async function output(program: string, args: readonly string[], timeoutMs: number): Promise<string> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = (stderr + chunk.toString()).slice(-2000)
  })
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) resolve()
      else reject(new Error(`${program} ${args.join(' ')} ended with ${code ?? signal}:\n${stderr}`))
    })
  })
  return stdout.trim()
}

/** The bench's own Python with torchft beside torch; its version. @throws when it cannot be installed */
export async function torchftPython(report: (line: string) => void): Promise<TorchPython> {
  const { python } = await torchPython(report)
  const version = () =>
    output(
      python,
      [
        '-c',
        'import torch, torchft; from importlib.metadata import distributions as d; print(next(x.version for x in d() if x.name.startswith("torchft")))',
      ],
      probeTimeoutMs,
    )
  try {
    return { python, version: await version() }
  } catch {
    report('installing torchft for the bench')
    // The release of its package index may be older than the torch that is here.
    await output(
      python,
      ['-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--quiet', 'torchft-nightly'],
      installTimeoutMs,
    )
    return { python, version: await version() }
  }
}
