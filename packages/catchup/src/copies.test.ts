import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { guardOf, wantUpgrade } from '@skein/transport'
import { afterEach, describe, expect, it } from 'vitest'
import type { Chunk } from './chunks.ts'
import { fetchCopy } from './fetch-copy.ts'
import { HttpSource } from './http-source.ts'
import { KeptCopies } from './kept-copies.ts'
import type { CopySource } from './source.ts'
import { names, newAsker, requestHeaders } from './state-request.ts'
import { StateServer } from './state-server.ts'

const totalElems = 100
const chunkElems = 64
const token = 'the token of generation 3'
const { signal } = new AbortController()
const cleanups: (() => void)[] = []
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup()
})

/** Parameters, first and second moments of part 1 after a step. */
const statesAfter = (step: number) =>
  [0, 0.25, 0.5].map(base => Float32Array.from({ length: totalElems }, (_, i) => 1000 * step + i + base))

function keep(copies: KeptCopies, step: number, whole: number | undefined): void {
  const slot = copies.vacate(whole)
  const views = copies.views(slot)
  for (const [i, values] of statesAfter(step).entries()) views[i]?.set(values)
  copies.filled(slot, step)
}

const copiesOf = (...steps: readonly number[]): KeptCopies => {
  const copies = KeptCopies.allocate(totalElems)
  for (const [i, step] of steps.entries()) keep(copies, step, steps[i - 1])
  return copies
}

/** A worker that keeps copies of part 1 and trains nothing. */
async function keeper(copies: KeptCopies) {
  let numFollowers = 0
  const server = new StateServer({ chunkElems, onFollower: () => numFollowers++ })
  server.keep(1, copies)
  server.open(3, token)
  const port = http.createServer()
  port.on(
    'request',
    server.listener(() => guardOf(port), wantUpgrade),
  )
  port.listen(0, '127.0.0.1')
  await once(port, 'listening')
  const address = { host: '127.0.0.1', port: (port.address() as AddressInfo).port }
  const source = new HttpSource({ name: 'worker w0', workerId: 'w9', address, generation: 3, token })
  cleanups.push(() => {
    source.close()
    port.close()
    port.closeAllConnections()
  })
  return { server, source, address, numFollowers: () => numFollowers }
}

const refused = expect.objectContaining({ code: 'SKEIN_CATCHUP_REFUSED' })

describe('copies of a mirrored step', () => {
  it('come whole, bit for bit, beside the one that is whole already; updates are not recorded for them', async () => {
    const { source, numFollowers } = await keeper(copiesOf(10, 20))
    const mine = copiesOf(10)
    const copy = source.ofCopy({ part: 1, step: 20 })
    const standing = await copy.standing(undefined, signal)
    expect(standing).toEqual({ step: 20, totalElems, digest: copiesOf(20).digest(20) })
    await fetchCopy(copy, standing, mine, { whole: 10, signal, chunkElems })
    expect(mine.viewsOf(20)).toEqual(statesAfter(20))
    expect(mine.viewsOf(10)).toEqual(statesAfter(10))
    expect(numFollowers()).toBe(0)
  })

  it('are not to be had of other parts and steps, nor once they are let go', async () => {
    const { source, server } = await keeper(copiesOf(10))
    const ask = (part: number, step: number) => source.ofCopy({ part, step }).standing(undefined, signal)
    await expect(ask(0, 10)).rejects.toEqual(refused)
    await expect(ask(1, 11)).rejects.toEqual(refused)
    await expect(source.standing(undefined, signal), 'nothing is trained here').rejects.toEqual(refused)
    await expect(ask(1, 10)).resolves.toMatchObject({ step: 10 })
    server.letCopiesGo()
    await expect(ask(1, 10)).rejects.toEqual(refused)
  })

  it('that the peer writes over in the midst of it are torn, and never held', async () => {
    const theirs = copiesOf(10, 20)
    const { source } = await keeper(theirs)
    const mine = copiesOf(10)
    const copy = source.ofCopy({ part: 1, step: 20 })
    const standing = await copy.standing(undefined, signal)
    const overtaken: CopySource = {
      name: copy.name,
      standing: (have, ending) => copy.standing(have, ending),
      chunk(chunk: Chunk, have, ending) {
        if (chunk.index === 1) keep(theirs, 30, 10)
        return copy.chunk(chunk, have, ending)
      },
    }
    await expect(fetchCopy(overtaken, standing, mine, { whole: 10, signal, chunkElems })).rejects.toEqual(refused)
    expect(mine.has(20)).toBe(false)
    expect(mine.viewsOf(10)).toEqual(statesAfter(10))
  })

  it('that do not digest to what the peer has said are never held', async () => {
    const { source } = await keeper(copiesOf(10))
    const mine = KeptCopies.allocate(totalElems)
    const copy = source.ofCopy({ part: 1, step: 10 })
    const standing = { ...(await copy.standing(undefined, signal)), digest: '0123456789abcdef' }
    await expect(fetchCopy(copy, standing, mine, { whole: undefined, signal, chunkElems })).rejects.toMatchObject({
      code: 'SKEIN_CATCHUP_STATE_DIFFERS',
    })
    expect(mine.has(10)).toBe(false)
  })

  it('of one step are not opened by the proof for another', async () => {
    const { address } = await keeper(copiesOf(10, 20))
    const url = (step: number) => `http://${address.host}:${address.port}/state/copy/1/${step}`
    const request = { generation: 3, chunk: undefined, have: undefined, copy: { part: 1, step: 10 } }
    const headers = (number: number) => requestHeaders(request, token, asker, number)
    const asker = newAsker()
    expect((await fetch(url(20), { headers: headers(1) })).status).toBe(401)
    const answer = await fetch(url(10), { headers: headers(2) })
    expect(answer.status).toBe(204)
    expect(answer.headers.get(names.elems)).toBe(String(totalElems))
    expect((await fetch(`${url(10)}/0/0`, { headers: headers(3) })).status).toBe(400)
  })
})
