import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { createSharedMemory, createSimd, formatHash, SharedArena } from '@skein/simd'
import { guardOf, wantUpgrade } from '@skein/transport'
import { afterEach, describe, expect, it } from 'vitest'
import { chunksOf } from './chunks.ts'
import { HttpSource } from './http-source.ts'
import { type SharedState, SlotSteps } from './shared-state.ts'
import { names, newAsker, requestHeaders } from './state-request.ts'
import { StateServer } from './state-server.ts'
import { allocateHistory, UpdateHistory } from './update-history.ts'

const totalElems = 100
const chunkElems = 64
const [chunk, last] = chunksOf(totalElems, chunkElems)
const token = 'the token of generation 3'
const cleanups: (() => void)[] = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

/** A member that holds step 7 in its first slot: parameters 0 … 99, moments 1000 and 2000 above them. */
async function member() {
  const arena = new SharedArena(createSharedMemory(16 * 4096))
  const region = (name: string, base: number) => {
    const made = arena.alloc(name, totalElems * 4)
    arena.float32(made).set(Float32Array.from({ length: totalElems }, (_, i) => base + i))
    return made
  }
  const slot = (name: string) => ({
    params: region(`p${name}`, 0),
    expAvg: region(`m${name}`, 1000),
    expAvgSq: region(`v${name}`, 2000),
  })
  const state: SharedState = {
    memory: arena.memory,
    slots: [slot('a'), slot('b')],
    steps: arena.alloc('steps', 8),
    gradients: region('gradients', 0.5),
    totalElems,
    slabs: [{ offset: 0, elems: totalElems, decay: false }],
  }
  const steps = new SlotSteps(arena.memory, state.steps)
  steps.set(0, 7)
  steps.set(1, undefined)
  const { params } = state.slots[0]
  const digest = formatHash(createSimd(arena.memory).hash(params.byteOffset, params.bytes))
  let asked = 0
  const server = new StateServer({ chunkElems, onFollower: () => asked++ })
  server.serve(state)
  server.open(3, token)
  server.committed({ step: 7, digest })
  const port = http.createServer()
  port.on(
    'request',
    server.listener(() => guardOf(port), wantUpgrade),
  )
  port.listen(0, '127.0.0.1')
  await once(port, 'listening')
  cleanups.push(() => {
    port.close()
    port.closeAllConnections()
  })
  const address = { host: '127.0.0.1', port: (port.address() as AddressInfo).port }
  const source = (given: { token?: string; generation?: number } = {}) => {
    const made = new HttpSource({ name: 'worker w0', workerId: 'w9', address, generation: 3, token, ...given })
    cleanups.push(() => made.close())
    return made
  }
  return {
    state,
    steps,
    digest,
    server,
    port,
    address,
    source,
    gradients: arena.float32(state.gradients),
    asked: () => asked,
  }
}

const { signal } = new AbortController()
if (chunk === undefined || last === undefined) throw new Error('there are two chunks')

describe('state over HTTP', () => {
  it('tells where a member stands, gives a chunk whole, and then only its next update', async () => {
    const { source, digest, server, steps, gradients, asked } = await member()
    const asker = source()
    expect(await asker.standing(undefined, signal)).toEqual({ step: 7, digest })
    const whole = await asker.chunk(last, undefined, signal)
    const expected = Float32Array.from({ length: 36 }, (_, i) => 64 + i)
    expect(whole).toEqual({
      kind: 'state',
      step: 7,
      values: Float32Array.from([...expected, ...expected.map(x => x + 1000), ...expected.map(x => x + 2000)]),
    })
    expect(asked(), 'updates are asked for').toBe(2)

    const history = new UpdateHistory(allocateHistory(totalElems))
    server.record(history)
    const options = { lr: 0.1, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0.1, gradScale: 1 / 3, step: 8 }
    history.record(options, gradients)
    steps.set(0, undefined)
    steps.set(1, 8)
    const waiting = asker.standing(7, signal)
    server.committed({ step: 8, digest: 'd8' })
    expect(await waiting).toEqual({ step: 8, digest: 'd8' })
    expect(await asker.chunk(chunk, 7, signal)).toEqual({ kind: 'update', options, values: gradients.slice(0, 64) })
    // Of one that has an older step the update between is not there.
    expect(await asker.chunk(chunk, 5, signal)).toMatchObject({ kind: 'state', step: 8 })
  })

  it('gives nothing that is not committed, or is being written', async () => {
    const { source, steps, server } = await member()
    steps.set(0, undefined)
    await expect(source().chunk(chunk, undefined, signal)).rejects.toMatchObject({ code: 'SKEIN_CATCHUP_REFUSED' })
    steps.set(0, 8)
    await expect(source().chunk(chunk, undefined, signal), 'voted for, not committed').rejects.toMatchObject({
      code: 'SKEIN_CATCHUP_REFUSED',
    })
    server.committed(undefined)
    await expect(source().standing(undefined, signal)).rejects.toMatchObject({ code: 'SKEIN_CATCHUP_REFUSED' })
  })

  it('strangers, old generations and proofs that were used are refused and counted', async () => {
    const { source, address, server, port } = await member()
    const stranger = source({ token: 'another' })
    await expect(stranger.standing(undefined, signal)).rejects.toMatchObject({
      code: 'SKEIN_CATCHUP_REFUSED',
      details: { statusCode: 401 },
    })
    await expect(source({ generation: 2 }).standing(undefined, signal)).rejects.toMatchObject({
      details: { statusCode: 409 },
    })
    const url = `http://${address.host}:${address.port}/state`
    const seen = requestHeaders({ generation: 3, chunk: undefined, have: undefined }, token, newAsker(), 1)
    expect((await fetch(url, { headers: seen })).status).toBe(204)
    expect((await fetch(url, { headers: seen })).status, 'replayed').toBe(401)
    expect((await fetch(`${url}/0`, { headers: { ...seen, [names.number]: '2' } })).status, 'for another chunk').toBe(
      401,
    )
    expect((await fetch(`${url}/x`)).status).toBe(400)
    expect((await fetch(`http://${address.host}:${address.port}/`)).status).toBe(426)
    expect(guardOf(port).refusals.counts()).toMatchObject({ badToken: 2, otherLane: 1, replayed: 1, badRequest: 1 })
    server.close(3)
    await expect(source().standing(undefined, signal)).rejects.toMatchObject({ details: { statusCode: 409 } })
  })

  it('bytes that were changed on the way, and a peer that does not know the token, are not believed', async () => {
    const { address } = await member()
    const changing = http.createServer((request, response) => {
      const headers = { ...request.headers }
      http.get({ ...address, path: request.url, headers }, answer => {
        const parts: Buffer[] = []
        answer.on('data', (part: Buffer) => parts.push(part))
        answer.on('end', () => {
          const body = Buffer.concat(parts)
          if (body.length > 100) body[100] = (body[100] ?? 0) ^ 1
          response.writeHead(answer.statusCode ?? 500, answer.headers)
          response.end(body)
        })
      })
    })
    changing.listen(0, '127.0.0.1')
    await once(changing, 'listening')
    cleanups.push(() => {
      changing.close()
      changing.closeAllConnections()
    })
    const proxied = new HttpSource({
      name: 'worker w0',
      workerId: 'w9',
      address: { host: '127.0.0.1', port: (changing.address() as AddressInfo).port },
      generation: 3,
      token,
    })
    cleanups.push(() => proxied.close())
    expect(await proxied.standing(undefined, signal)).toMatchObject({ step: 7 })
    await expect(proxied.chunk(chunk, undefined, signal)).rejects.toMatchObject({ code: 'SKEIN_CATCHUP_BAD_ANSWER' })
  })

  it('a request ends when it is cancelled, and when nothing comes', async () => {
    const { source } = await member()
    const ending = new AbortController()
    const waiting = source().standing(7, ending.signal)
    ending.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'SKEIN_CATCHUP_REFUSED' })
    const silent = http.createServer(() => undefined)
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    cleanups.push(() => {
      silent.close()
      silent.closeAllConnections()
    })
    const { port } = silent.address() as AddressInfo
    const mute = new HttpSource({
      name: 'w',
      workerId: 'w9',
      address: { host: '127.0.0.1', port },
      generation: 3,
      token,
      timeoutMs: 50,
    })
    await expect(mute.standing(undefined, signal)).rejects.toMatchObject({ code: 'SKEIN_CATCHUP_REFUSED' })
    mute.close()
  })
})
