import { expect, test } from 'vitest'
import { type HostReads, hostId, isSameHost } from './host-id.ts'

const reads = (boot: string, mounts: string, network: string): HostReads => ({
  file: () => `${boot}\n`,
  link: path => (path.endsWith('/mnt') ? `mnt:[${mounts}]` : `net:[${network}]`),
})
const own = hostId(reads('b007', '41', '42'))

test('processes of one boot and the same namespaces are on one host', () => {
  expect(own).toBe('b007-41-42')
  expect(isSameHost(own, hostId(reads('b007', '41', '42')))).toBe(true)
})

test.each([
  ['another boot', reads('c001', '41', '42')],
  ['a container with its own files', reads('b007', '7', '42')],
  ['a network namespace of its own', reads('b007', '41', '7')],
])('%s is another host', (_, other) => {
  expect(isSameHost(own, hostId(other))).toBe(false)
})

test('where the system does not say, nobody is on this host', () => {
  const mute: HostReads = {
    file: () => {
      throw new Error('ENOENT')
    },
    link: () => '',
  }
  expect(hostId(mute)).toBeUndefined()
  expect(hostId({ ...reads('b007', '41', '42'), link: () => 'odd' })).toBeUndefined()
  expect(isSameHost(undefined, undefined)).toBe(false)
})

test('this process is on its own host, wherever it runs', () => {
  expect(hostId()).toBe(hostId())
})
