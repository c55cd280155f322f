import { SkeinError } from '@skein/core'
import { CertsErrors } from './errors.ts'

/** One name that a certificate is valid for. */
export interface SubjectName {
  readonly type: 'dns' | 'ip'
  readonly value: string
}

const label = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/i
const ipv4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/

/** A host as it stands in a certificate. "*.example.org" is a name, too. @throws SKEIN_CERTS_BAD_HOST */
export function subjectName(host: string): SubjectName {
  if (isIpv4(host) || isIpv6(host)) return { type: 'ip', value: host }
  const labels = (host.startsWith('*.') ? host.slice(2) : host).split('.')
  // What ends in a number is an address that is written wrongly: 10.0.0.300.
  const isName = host.length <= 253 && labels.every(one => label.test(one)) && !/^\d+$/.test(labels.at(-1) ?? '')
  if (isName) return { type: 'dns', value: host }
  throw new SkeinError(CertsErrors.BAD_HOST, {
    what: `${JSON.stringify(host.slice(0, 100))} is neither a host name nor an IP address`,
    why: 'a certificate is for the names and addresses that the others dial, without port or scheme',
    todo: 'pass names and addresses such as worker-1,worker-1.example.org,10.0.0.7',
    details: { host: host.slice(0, 300) },
  })
}

function isIpv4(host: string): boolean {
  return (
    ipv4
      .exec(host)
      ?.slice(1)
      .every(part => Number(part) < 256) ?? false
  )
}

/** By the parser of addresses that every platform has. */
function isIpv6(host: string): boolean {
  return host.includes(':') && URL.canParse(`http://[${host}]/`)
}
