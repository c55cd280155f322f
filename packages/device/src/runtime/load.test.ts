import { temporaryFolder } from '@skein/testkit'
import { describe, expect, it } from 'vitest'
import { cpuWheel } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import { chooseDevice } from './choose-device.ts'
import { loadBinding, loadTfjs } from './load.ts'
import { inspectMachine, nodeFact } from './machine.ts'
import { runtimePlaces } from './places.ts'

describe('loading the runtime', () => {
  it('says that it is missing, where, and how to get it', () => {
    using folder = temporaryFolder('load')
    const places = runtimePlaces(cpuWheel, { cacheDir: folder.path })
    expect(() => loadBinding({ places })).toThrow(
      expect.objectContaining({
        code: DeviceErrors.RUNTIME_MISSING.code,
        todo: expect.stringContaining('skein setup'),
        details: { dir: places.dir },
      }),
    )
  })

  it('gives one addon to the fast path and to tfjs', async context => {
    const choice = await chooseDevice()
    if (choice.kind !== 'tensorflow-cpu') context.skip(`the device here is ${choice.kind}`)
    const binding = loadBinding({ threads: { intraOp: 1, interOp: 1 } })
    const before = binding.getNumOfTensors()
    const tf = loadTfjs()
    expect(tf.getBackend()).toBe('tensorflow')
    const square = tf.tidy(() => {
      const x = tf.tensor2d([1, 2, 3, 4], [2, 2])
      const values = Array.from(tf.matMul(x, x).dataSync())
      expect(binding.getNumOfTensors()).toBeGreaterThan(before)
      return values
    })
    expect(square).toEqual([7, 10, 15, 22])
    expect(binding.getNumOfTensors()).toBe(before)
    expect(binding.TF_Version).toBe(choice.version)
  })
})

describe('the look at a machine', () => {
  it('finds this Node, a platform and a reason for whatever is not right', async () => {
    const facts = await inspectMachine()
    expect(facts.node.value).toBe(process.versions.node)
    for (const fact of Object.values(facts)) {
      expect(fact.value).not.toBe('')
      if (!fact.ok) expect(fact.advice).toBeTruthy()
    }
  })

  it.each([
    ['20.20.2', false],
    ['22.21.9', false],
    ['22.22.0', true],
    ['23.11.0', false],
    ['24.0.0', true],
    ['25.1.0', false],
    ['26.10.0', true],
    ['28.0.0', true],
  ])('Node %s: %s', (version, ok) => {
    expect(nodeFact(version).ok).toBe(ok)
  })
})
