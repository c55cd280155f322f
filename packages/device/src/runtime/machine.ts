import os from 'node:os'
import { cpuWheel, setupDiskBytes } from '../config.ts'
import { freeBytes } from './disk.ts'
import { quickCheckRuntime } from './manifest.ts'
import { runtimePlaces } from './places.ts'
import { compareVersions, hasNvidia, judgePlatform, platformFacts } from './platform.ts'
import { type Fact, findCompiler, findPip, findPython, probe } from './tools.ts'

/** What a machine has and lacks for Skein. `skein doctor` prints it. */
export interface MachineFacts {
  readonly node: Fact
  readonly cores: Fact
  readonly memory: Fact
  readonly platform: Fact
  readonly disk: Fact
  readonly python: Fact
  readonly pip: Fact
  readonly compiler: Fact
  readonly runtime: Fact
  readonly gpu: Fact
  readonly docker: Fact
}

export interface InspectOptions {
  readonly cacheDir?: string
  readonly signal?: AbortSignal
}

const MIN_MEMORY_BYTES = 2_000_000_000

/** Looks at this machine; runs a few programs with `--version`, each bounded, and changes nothing. */
export async function inspectMachine(options: InspectOptions = {}): Promise<MachineFacts> {
  const { signal } = options
  const [python, compiler, gpu, docker] = await Promise.all([
    findPython(signal),
    findCompiler(signal),
    gpuFact(signal),
    dockerFact(signal),
  ])
  const pip = await findPip(python.program, signal)
  const runtime = runtimeFact(options)
  // What only a set-up needs is no fault where the set-up is done.
  const forSetup = (fact: Fact): Fact =>
    runtime.ok && !fact.ok ? { ok: true, value: `${fact.value} (not needed any more)` } : fact
  return {
    node: nodeFact(process.versions.node),
    cores: { ok: true, value: `${os.availableParallelism()} × ${os.cpus()[0]?.model.trim() ?? 'unknown CPU'}` },
    memory: memoryFact(),
    platform: platformFact(),
    disk: forSetup(diskFact(options)),
    python: forSetup({ ...python }),
    pip: forSetup(pip),
    compiler: forSetup({ ...compiler }),
    runtime,
    gpu,
    docker,
  }
}

/** Skein runs on Node 22.22 and later of that line, 24, and 26 and later. */
export function nodeFact(version: string): Fact {
  const major = Number(version.split('.')[0])
  const ok = (major === 22 && compareVersions(version, '22.22') >= 0) || major === 24 || major >= 26
  if (ok) return { ok, value: version }
  return { ok, value: version, advice: 'install Node 24, or start with `npm start` or `scripts/skein`, which bring it' }
}

function memoryFact(): Fact {
  const limit = process.constrainedMemory()
  const total = limit > 0 ? Math.min(limit, os.totalmem()) : os.totalmem()
  const value = `${(total / 1e9).toFixed(1)} GB`
  if (total >= MIN_MEMORY_BYTES) return { ok: true, value }
  return {
    ok: false,
    value,
    advice: 'a worker takes about 0.5 GB: use fewer workers, or give the container more memory',
  }
}

function platformFact(): Fact {
  const facts = platformFacts()
  const verdict = judgePlatform(facts)
  const libc = facts.glibc === undefined ? '' : `, glibc ${facts.glibc}`
  const value = `${facts.platform} ${facts.arch} ${os.release()}${libc}`
  return verdict.ok ? { ok: true, value } : { ok: false, value: `${value}: ${verdict.reason}`, advice: verdict.advice }
}

function diskFact(options: InspectOptions): Fact {
  const { root } = runtimePlaces(cpuWheel, options)
  const free = freeBytes(root)
  const value = `${(free / 1e9).toFixed(1)} GB free for ${root}`
  if (free >= setupDiskBytes) return { ok: true, value }
  return {
    ok: false,
    value,
    advice: `the set-up needs ${(setupDiskBytes / 1e9).toFixed(1)} GB: free some, or point XDG_CACHE_HOME elsewhere`,
  }
}

function runtimeFact(options: InspectOptions): Fact {
  const places = runtimePlaces(cpuWheel, options)
  const check = quickCheckRuntime(places.dir, places.key)
  if (check.ok) return { ok: true, value: `TensorFlow ${check.manifest.tensorflowVersion} in ${places.dir}` }
  return { ok: false, value: `${check.state}: ${check.reason}`, advice: 'run `skein setup`' }
}

async function gpuFact(signal?: AbortSignal): Promise<Fact> {
  const said = await probe(
    'nvidia-smi',
    ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader'],
    signal,
  )
  if (said !== undefined) return { ok: true, value: said }
  return { ok: true, value: hasNvidia() ? 'an NVIDIA device (no nvidia-smi to name it)' : 'none' }
}

async function dockerFact(signal?: AbortSignal): Promise<Fact> {
  const said = await probe('docker', ['version', '--format', '{{.Server.Version}}'], signal)
  if (said !== undefined) return { ok: true, value: `docker ${said}` }
  return { ok: true, value: 'none (only the container tests and images need it)' }
}
