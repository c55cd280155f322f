import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
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
    const model = (step: number) => {
      const folder = `torn/step-0000000${step}`
      const files = fs.readdirSync(path.join(server?.folder ?? '', folder))
      return `${folder}/${files.find(file => /^model-w[0-9a-f]{8}\.safetensors$/u.test(file))}`
    }
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

  test('that is saved again stays until the new one is there, whose files alone are left', async () => {
    const root = place('again')
    const first = async () => (await openCheckpoint(root, { environment })).readParameters()
    await saveCheckpoint(root, contentsAt(1), { environment })
    const store = openStore(root, environment)
    const draft = await store.begin('step-00000001', 1)
    await draft.write(`model${draft.suffix}.safetensors`, [Buffer.from('half')])
    expect(await first()).toEqual(tensors(1))
    await draft.discard()
    expect(await first()).toEqual(tensors(1))
    await saveCheckpoint(root, { ...contentsAt(1), parameters: tensors(9) }, { environment })
    const { manifest } = await findCheckpoint(root, { environment })
    expect(await first()).toEqual(tensors(9))
    const files = fs.readdirSync(path.join(server?.folder ?? '', 'again', 'step-00000001'))
    expect(files.sort()).toEqual(['manifest.json', ...manifest.files.map(file => file.name)].sort())
  })

  test('of two writers of one step, whichever is last: neither touches what the other one’s manifest names', async () => {
    const root = place('two')
    const store = openStore(root, environment)
    const begin = async (generation: number) => {
      const draft = await store.begin('step-00000002', generation)
      const name = `model${draft.suffix}.safetensors`
      const file = { name, ...(await draft.write(name, [Buffer.from(`of ${generation}`)])) }
      const facts = { step: 2, samplesSeen: 2, seed: 1, digest: 'd', job: {}, model: {}, createdBy: {} }
      return {
        ...draft,
        name,
        manifest: Buffer.from(JSON.stringify({ format: 1, ...facts, generation, files: [file] })),
      }
    }
    const older = await begin(1)
    const newer = await begin(2)
    await newer.publish(newer.manifest)
    await newer.tidy()
    expect((await findCheckpoint(root, { environment })).manifest.generation).toBe(2)
    await older.publish(older.manifest)
    expect((await findCheckpoint(root, { environment })).manifest.generation).toBe(1)
    // A request that was answered too late: it is said to have failed, and is there.
    await older.discard()
    await older.tidy()
    expect((await findCheckpoint(root, { environment })).manifest.generation).toBe(1)
    expect(await store.sizeOf('step-00000002', newer.name)).toBeUndefined()
    // Stopped for so long that the step was removed.
    const late = await begin(3)
    await store.remove('step-00000002')
    await expect(late.publish(late.manifest)).rejects.toThrow(/not there any more/u)
  })

  test('stay where an older one cannot be removed', async () => {
    const root = place('stays')
    await saveCheckpoint(root, contentsAt(1), { environment })
    const target = new URL(root).searchParams.get('endpoint') ?? ''
    // Answers as the server does, but to the removal of step 1.
    const proxy = http.createServer((request, response) => {
      if (request.method === 'DELETE' && request.url?.includes('step-00000001')) {
        response.writeHead(403).end('<Code>AccessDenied</Code>')
        return
      }
      const { method, headers, url } = request
      const through = http.request(new URL(url ?? '/', target), { method, headers }, answer => {
        response.writeHead(answer.statusCode ?? 500, answer.headers)
        answer.pipe(response)
      })
      through.on('error', () => response.destroy())
      request.pipe(through)
    })
    await once(proxy.listen(0, '127.0.0.1'), 'listening')
    try {
      const through = `s3://skein/stays?endpoint=http://127.0.0.1:${(proxy.address() as net.AddressInfo).port}`
      const saved = await saveCheckpoint(through, contentsAt(2), { environment, keep: 1 })
      expect(saved.notTidied).toMatch(/403/u)
      await using checkpoint = await openCheckpoint(root, { environment })
      expect(await checkpoint.readParameters()).toEqual(tensors(2))
    } finally {
      proxy.close()
    }
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
