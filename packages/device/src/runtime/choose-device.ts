import { SkeinError } from '@skein/core'
import { cpuWheel, cudaWheel, type DeviceKind, deviceKinds, type WheelPin } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import { quickCheckRuntime, type RuntimeCheck } from './manifest.ts'
import { packageVersion, runtimePlaces } from './places.ts'
import { hasNvidia, judgePlatform, type PlatformVerdict, platformFacts } from './platform.ts'
import { findTools } from './tools.ts'

/** What the choice of a device depends on. Plain values: `decideDevice` can be asked about any machine. */
export interface DeviceFacts {
  readonly platform: PlatformVerdict
  readonly nvidia: boolean
  readonly cudaRuntime: RuntimeCheck
  readonly cpuRuntime: RuntimeCheck
  /** What a set-up would lack, such as `g++`; looked for only where a runtime is not there. */
  readonly missingTools: readonly string[]
  /** Debian packages that bring them. */
  readonly missingPackages: readonly string[]
  readonly tfjsVersion: string
}

export interface Refusal {
  readonly kind: DeviceKind
  readonly reason: string
  /** What would make this device usable; absent where nothing is wrong with that. */
  readonly advice?: string
}

export interface DeviceChoice {
  readonly kind: DeviceKind
  /** Why this one. */
  readonly reason: string
  /** Of TensorFlow for the tensorflow kinds, else of tfjs. */
  readonly version: string
  /** The better ones that were passed over, best first. */
  readonly refused: readonly Refusal[]
  /** Set when the device is far slower than what the machine could do: must be shown to the user, whole. */
  readonly warning?: string
}

export interface ChooseOptions {
  /** Take this one and no other. */
  readonly prefer?: DeviceKind
  readonly cacheDir?: string
  readonly signal?: AbortSignal
}

/**
 * Chooses the best device that can be used now: CUDA, libtensorflow on the CPU, wasm, plain JavaScript. Costs a few `stat`
 * calls when the runtime is in the cache. Sets nothing up and loads nothing.
 * @throws SKEIN_DEVICE_BACKEND_UNAVAILABLE when `prefer` cannot be had
 */
export async function chooseDevice(options: ChooseOptions = {}): Promise<DeviceChoice> {
  return decideDevice(await deviceFacts(options), options.prefer)
}

export async function deviceFacts(options: ChooseOptions = {}): Promise<DeviceFacts> {
  const platform = judgePlatform(platformFacts())
  const nvidia = hasNvidia()
  const state = (wheel: WheelPin): RuntimeCheck => {
    const places = runtimePlaces(wheel, options)
    return quickCheckRuntime(places.dir, places.key)
  }
  const cpuRuntime = state(cpuWheel)
  const cudaRuntime = state(cudaWheel)
  const lacking = platform.ok && !cpuRuntime.ok
  const { missing, packages } = lacking ? await findTools(options.signal) : { missing: [], packages: [] }
  return {
    platform,
    nvidia,
    cudaRuntime,
    cpuRuntime,
    missingTools: missing,
    missingPackages: packages,
    tfjsVersion: packageVersion('@tensorflow/tfjs'),
  }
}

/** The rule of `chooseDevice`, pure. */
export function decideDevice(facts: DeviceFacts, prefer?: DeviceKind): DeviceChoice {
  const refused: Refusal[] = []
  for (const kind of prefer === undefined ? deviceKinds : [prefer]) {
    const refusal = refuse(kind, facts)
    if (refusal !== undefined) {
      refused.push(refusal)
      continue
    }
    const reason = prefer === undefined ? reasons[kind] : 'it was asked for'
    const choice = { kind, reason, version: versionOf(kind, facts), refused }
    if (kind === 'tensorflow-cuda' || kind === 'tensorflow-cpu' || prefer !== undefined) return choice
    return { ...choice, warning: slowWarning(kind, refused) }
  }
  const refusal = refused[0]
  throw new SkeinError(DeviceErrors.BACKEND_UNAVAILABLE, {
    what: `the device ${String(prefer)} cannot be used here: ${refusal?.reason ?? 'it is unknown'}`,
    todo: refusal?.advice ?? 'leave the choice to Skein: take the option away',
    details: { prefer },
  })
}

const reasons: Readonly<Record<DeviceKind, string>> = {
  'tensorflow-cuda': 'an NVIDIA device and its runtime are there',
  'tensorflow-cpu': 'the fastest that this machine offers',
  wasm: 'the fastest that needs no native library',
  cpu: 'plain JavaScript runs everywhere',
}

function refuse(kind: DeviceKind, facts: DeviceFacts): Refusal | undefined {
  switch (kind) {
    case 'tensorflow-cuda':
      if (!facts.nvidia) return { kind, reason: 'this machine shows no NVIDIA device (/dev/nvidia0 or another number)' }
      return facts.cudaRuntime.ok ? undefined : refuseRuntime(kind, facts, facts.cudaRuntime, 'skein setup --cuda')
    case 'tensorflow-cpu':
      return facts.cpuRuntime.ok ? undefined : refuseRuntime(kind, facts, facts.cpuRuntime, 'skein setup')
    case 'wasm':
    case 'cpu':
      return undefined
  }
}

function refuseRuntime(
  kind: DeviceKind,
  facts: DeviceFacts,
  check: RuntimeCheck & { ok: false },
  command: string,
): Refusal {
  if (!facts.platform.ok) return { kind, reason: facts.platform.reason, advice: facts.platform.advice }
  if (facts.missingTools.length > 0) {
    const reason = `its runtime is not set up, and the set-up lacks ${facts.missingTools.join(', ')}`
    return { kind, reason, advice: `\`apt-get install ${facts.missingPackages.join(' ')}\`, then \`${command}\`` }
  }
  return { kind, reason: `its runtime is ${check.state} (${check.reason})`, advice: `\`${command}\`` }
}

function versionOf(kind: DeviceKind, facts: DeviceFacts): string {
  if (kind === 'tensorflow-cuda' && facts.cudaRuntime.ok) return facts.cudaRuntime.manifest.tensorflowVersion
  if (kind === 'tensorflow-cpu' && facts.cpuRuntime.ok) return facts.cpuRuntime.manifest.tensorflowVersion
  return facts.tfjsVersion
}

function slowWarning(kind: DeviceKind, refused: readonly Refusal[]): string {
  const native = refused.find(one => one.kind === 'tensorflow-cpu')
  const cost = kind === 'wasm' ? 'training is about 35 times slower' : 'training is several hundred times slower'
  const lines = [
    `WITHOUT TENSORFLOW: this worker computes with the ${kind} backend, and ${cost} than with libtensorflow.`,
  ]
  if (native !== undefined) lines.push(`  why:  ${native.reason}`)
  if (native?.advice !== undefined) lines.push(`  mend: ${native.advice}`)
  return lines.join('\n')
}
