import { once } from 'node:events'
import fs from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { startS3Server } from '@skein/testkit'
import { AwsClient } from 'aws4fetch'
import { afterAll, describe, expect, test } from 'vitest'
import { findCheckpoint } from './find-checkpoint.ts'
import { openCheckpoint } from './open-checkpoint.ts'
import { openStore } from './open-store.ts'
import { type CheckpointContents, saveCheckpoint } from './save-checkpoint.ts'
import type { NamedTensor } from './tensor.ts'

const server = await startS3Server()
afterAll(() => server?.[Symbol.asyncDispose]())

const code = (suffix: string) => expect.objectContaining({ code: `SKEIN_CHECKPOINT_${suffix}` })

const tensors = (scale: number): NamedTensor[] => [
  { name: 'a', shape: [100], data: Float32Array.from({ length: 100 }, (_, i) => i * scale) },
  { name: 'b', shape: [3], data: Float32Array.of(scale, -scale, 0) },
]

const contentsAt = (step: number): CheckpointContents => ({
  step,
  samplesSeen: step,
  seed: 1,
  digest: 'd',
  generation: 1,
  job: {},
  model: {},
  createdBy: {},
  parameters: tensors(step),
  expAvg: tensors(step + 0.5),
  expAvgSq: tensors(step + 0.25),
})

describe.skipIf(server === undefined)('checkpoints on a real S3 server', () => {
  const place = (prefix: string) => server?.location(prefix) ?? ''
  const environment: Readonly<Record<string, string>> = server?.environment ?? {}
  const replace = async (method: string, key: string, body?: Buffer<ArrayBuffer>) => {
    const { AWS_ACCESS_KEY_ID: accessKeyId = '', AWS_SECRET_ACCESS_KEY: secretAccessKey = '' } = environment
    const client = new AwsClient({ accessKeyId, secretAccessKey, service: 's3', region: 'us-east-1' })
    const url = new URL(place(''))
    const response = await client.fetch(`${url.searchParams.get('endpoint')}/${url.hostname}/${key}`, {
      method,
      ...(body && { body }),
    })
    expect(response.ok).toBe(true)
  }

  test('come back in shards, the newest is found, the oldest go', async () => {
    const root = place('runs/a b&c')
    const options = { environment, keep: 2, shardBytes: 400 }
    for (const step of [1, 2, 3]) await saveCheckpoint(root, contentsAt(step), options)
    expect(await openStore(root, environment).names()).toEqual(['step-00000003', 'step-00000002'])
    const found = await findCheckpoint(root, { environment })
    expect(found.path).toMatch(/^s3:\/\/skein\/runs\/a b&c\/step-00000003\?endpoint=/u)
    expect(found.manifest.files).toHaveLength(6)
    await using checkpoint = await openCheckpoint(found.path, { environment })
    expect(await checkpoint.readParameters()).toEqual(tensors(3))
    const [expAvg, expAvgSq] = [tensors(0), tensors(0)]
    await checkpoint.readMomentsInto(expAvg, expAvgSq)
    expect([expAvg, expAvgSq]).toEqual([tensors(3.5), tensors(3.25)])
  })

  test('exist only with their manifest, and are passed over where an object is cut short or changed', async () => {
    const root = place('torn')
    for (const step of [1, 2, 3, 4]) await saveCheckpoint(root, contentsAt(step), { environment })
    const model = (step: number) => `torn/step-0000000${step}/model.safetensors`
    const bytes = fs.readFileSync(path.join(server?.folder ?? '', model(2)))
    bytes[bytes.length - 1] = 0xff
    await replace('DELETE', 'torn/step-00000004/manifest.json')
    await replace('PUT', model(3), bytes.subarray(0, 100))
    await replace('PUT', model(2), bytes)
    const { manifest, skipped } = await findCheckpoint(root, { environment })
    expect(manifest.step).toBe(1)
    expect(skipped.map(one => one.code)).toEqual([
      'SKEIN_CHECKPOINT_NO_MANIFEST',
      'SKEIN_CHECKPOINT_CUT_SHORT',
      'SKEIN_CHECKPOINT_CORRUPT',
    ])
  })

  test('that is saved again is not there while its objects change', async () => {
    const root = place('again')
    await saveCheckpoint(root, contentsAt(1), { environment, shardBytes: 400 })
    const store = openStore(root, environment)
    const draft = await store.begin('step-00000001')
    await expect(findCheckpoint(root, { environment })).rejects.toThrow(code('NOT_FOUND'))
    await draft.write('model.safetensors', [Buffer.from('half')])
    await expect(findCheckpoint(root, { environment })).rejects.toThrow(code('NO_MANIFEST'))
    await draft.discard()
    expect(await store.names()).toEqual([])
  })

  test('are written and read over connections that are lost', async () => {
    const target = new URL(new URL(place('')).searchParams.get('endpoint') ?? '')
    let requests = 0
    const proxy = net.createServer(socket => {
      const through = net.connect(Number(target.port), target.hostname)
      through.on('error', () => socket.destroy())
      socket.on('error', () => through.destroy())
      through.pipe(socket)
      socket.on('data', (chunk: Buffer) => {
        // Every other one is lost, with its connection, before it is answered.
        const isRequest = /^(?:GET|PUT|HEAD|DELETE) /u.test(chunk.toString('latin1', 0, 8))
        if (!isRequest || requests++ % 2 === 1) through.write(chunk)
        else for (const end of [socket, through]) end.destroy()
      })
    })
    await once(proxy.listen(0, '127.0.0.1'), 'listening')
    try {
      const root = `s3://skein/lost?endpoint=http://127.0.0.1:${(proxy.address() as net.AddressInfo).port}`
      await saveCheckpoint(root, contentsAt(5), { environment })
      const found = await findCheckpoint(root, { environment })
      await using checkpoint = await openCheckpoint(found.path, { environment })
      expect(await checkpoint.readParameters()).toEqual(tensors(5))
      expect(requests).toBeGreaterThan(10)
    } finally {
      proxy.close()
    }
  })

  test('are refused with what is wrong: keys, bucket, endpoint', async () => {
    const save = (root: string, env: Readonly<Record<string, string>>) =>
      saveCheckpoint(root, contentsAt(1), { environment: env })
    const failure = code('WRITE')
    await expect(save(place('x'), {})).rejects.toThrow(/AWS_ACCESS_KEY_ID is not set/u)
    await expect(save(place('x'), { ...environment, AWS_SECRET_ACCESS_KEY: 'wrong' })).rejects.toThrow(/403/u)
    await expect(save(place('x').replace('//skein/', '//nowhere/'), environment)).rejects.toThrow(failure)
    await expect(save('s3://skein/x?endpoint=http://127.0.0.1:9', environment)).rejects.toThrow(failure)
    await expect(findCheckpoint(place('empty'), { environment })).rejects.toThrow(code('NOT_FOUND'))
  })
})
