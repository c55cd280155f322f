import { describe, expect, it } from 'vitest'
import { DeviceErrors } from '../errors.ts'
import { type DeviceFacts, decideDevice } from './choose-device.ts'
import type { RuntimeCheck } from './manifest.ts'
import { extraRequirements } from './cuda.ts'
import { compareVersions, judgePlatform } from './platform.ts'

const missing: RuntimeCheck = { ok: false, state: 'missing', reason: 'no manifest' }
const there = (version: string): RuntimeCheck => ({
  ok: true,
  manifest: { format: 1, key: 'k', tensorflowVersion: version, files: [] },
})
const facts = (changes: Partial<DeviceFacts> = {}): DeviceFacts => ({
  platform: { ok: true },
  nvidia: false,
  cudaRuntime: missing,
  cpuRuntime: there('2.21.0'),
  missingTools: [],
  missingPackages: [],
  tfjsVersion: '4.22.0',
  ...changes,
})

describe('the choice of a device', () => {
  it('takes CUDA where device and runtime are there', () => {
    const choice = decideDevice(facts({ nvidia: true, cudaRuntime: there('2.20.0') }))
    expect(choice).toMatchObject({ kind: 'tensorflow-cuda', version: '2.20.0', refused: [] })
  })

  it('takes the CPU where no NVIDIA device is, without a warning', () => {
    const choice = decideDevice(facts({ cudaRuntime: there('2.21.0') }))
    expect(choice).toMatchObject({ kind: 'tensorflow-cpu', version: '2.21.0' })
    expect(choice.refused.map(one => one.kind)).toEqual(['tensorflow-cuda'])
    expect(choice.warning).toBeUndefined()
  })

  it('says how to get the CUDA runtime where only that is missing', () => {
    const [refusal] = decideDevice(facts({ nvidia: true })).refused
    expect(refusal).toMatchObject({ kind: 'tensorflow-cuda', advice: expect.stringContaining('--cuda') })
  })

  it('falls back to wasm loudly, naming the missing tools and the command that brings them', () => {
    const tools = { missingTools: ['pip for python3', 'g++'], missingPackages: ['python3-pip', 'g++'] }
    const choice = decideDevice(facts({ cpuRuntime: missing, ...tools }))
    expect(choice).toMatchObject({ kind: 'wasm', version: '4.22.0' })
    expect(choice.warning).toContain('pip for python3, g++')
    expect(choice.warning).toContain('apt-get install python3-pip g++')
  })

  it('falls back to wasm on another platform, saying which', () => {
    const platform = judgePlatform({ platform: 'darwin', arch: 'arm64', glibc: undefined, avx: undefined })
    const choice = decideDevice(facts({ cpuRuntime: missing, platform }))
    expect(choice.kind).toBe('wasm')
    expect(choice.warning).toContain('darwin arm64')
  })

  it('takes what was asked for, or refuses with the reason', () => {
    expect(decideDevice(facts(), 'wasm')).toMatchObject({ kind: 'wasm', refused: [] })
    expect(() => decideDevice(facts(), 'tensorflow-cuda')).toThrow(
      expect.objectContaining({ code: DeviceErrors.BACKEND_UNAVAILABLE.code, what: expect.stringContaining('NVIDIA') }),
    )
  })
})

describe('the verdict on a platform', () => {
  const linux = { platform: 'linux', arch: 'x64', glibc: '2.36', avx: true }
  it.each([
    [linux, true, ''],
    [{ ...linux, avx: undefined }, true, ''],
    [{ ...linux, arch: 'arm64' }, false, 'linux arm64'],
    [{ ...linux, glibc: undefined }, false, 'musl'],
    [{ ...linux, glibc: '2.17' }, false, '2.17'],
    [{ ...linux, avx: false }, false, 'AVX'],
  ])('%o: %s', (platform, ok, reason) => {
    const verdict = judgePlatform(platform)
    expect(verdict.ok).toBe(ok)
    if (!verdict.ok) expect(verdict.reason).toContain(reason)
  })

  it('compares versions as numbers', () => {
    expect(compareVersions('2.9', '2.27')).toBeLessThan(0)
    expect(compareVersions('2.27', '2.27.0')).toBe(0)
    expect(compareVersions('3', '2.99')).toBeGreaterThan(0)
  })
})

describe('the CUDA requirements of a wheel', () => {
  it('are those under its extra, without markers', () => {
    const metadata = [
      'Requires-Dist: numpy>=1.26.0',
      'Requires-Dist: nvidia-cublas-cu12<13.0,>=12.5.3.2; extra == "and-cuda"',
      "Requires-Dist: nvidia-cudnn-cu12 (<10.0,>=9.3) ; extra == 'and-cuda'",
      'Requires-Dist: tensorboard; extra == "other"',
    ].join('\r\n')
    expect(extraRequirements(metadata, 'and-cuda')).toEqual([
      'nvidia-cublas-cu12<13.0,>=12.5.3.2',
      'nvidia-cudnn-cu12<10.0,>=9.3',
    ])
  })
})
