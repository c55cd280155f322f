import { issueAuthority, issueForHosts } from '@skein/certs'
import { seededRandom } from '@skein/core'
import { useTestSeed } from '@skein/testkit'
import { listen, TransportErrors, type TlsIdentity } from '@skein/transport'
import { expect, test } from 'vitest'
import { type OpenedGroup, openGroup } from './open-group.ts'

const random = seededRandom(useTestSeed())
/** A loopback address that nobody else of this machine uses, so that a port which was free stays free. */
const host = `127.${1 + random.nextInt(254)}.${random.nextInt(256)}.${1 + random.nextInt(254)}`
const elems = 1_000

async function freeAddress(): Promise<string> {
  const listener = await listen({ host })
  await listener.close()
  return `${host}:${listener.port}`
}

const validity = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) }
const authority = await issueAuthority('ours', validity)
const tls: TlsIdentity = { ...(await issueForHosts(authority, [host], validity)), ca: authority.cert }

function openAll(
  addresses: readonly string[],
  identities: readonly (TlsIdentity | undefined)[],
): Promise<OpenedGroup>[] {
  return identities.map((shown, rank) =>
    openGroup({
      rank,
      addresses,
      token: 'of-this-test',
      timeoutMs: 5_000,
      ...(shown === undefined ? {} : { tls: shown }),
    }),
  )
}

test.each([
  ['in plain', undefined],
  ['over TLS', tls],
])('three ranks that only know their addresses sum up %s', async (_, shown) => {
  const addresses = await Promise.all([0, 1, 2].map(freeAddress))
  const groups = await Promise.all(openAll(addresses, [shown, shown, shown]))
  const tensors = groups.map(({ float32 }, rank) => {
    const tensor = float32(elems)
    tensor.view.fill(rank + 1)
    return tensor
  })
  await Promise.all(groups.map(({ group }, rank) => group.allReduce(tensors[rank]?.region as never)))
  for (const { view } of tensors) expect(view.every(value => value === 6)).toBe(true)
  await Promise.all(groups.map(({ close }) => close()))
})

test('a rank without TLS among others with it says so, instead of waiting for them', async () => {
  const addresses = await Promise.all([0, 1].map(freeAddress))
  const [first, second] = openAll(addresses, [tls, undefined])
  await expect(second).rejects.toMatchObject({ code: TransportErrors.TLS_NEEDED.code })
  await expect(first).rejects.toMatchObject({ code: expect.stringMatching('^SKEIN_') as string })
})
