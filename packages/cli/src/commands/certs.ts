import fs from 'node:fs'
import path from 'node:path'
import { type Issued, issueAuthority, issueForHosts } from '@skein/certs'
import { tlsFileNames } from '../tls-files.ts'

export interface CertsCommandOptions {
  readonly hosts: readonly string[]
  readonly out: string
  readonly days: number
  /** A folder and a certificate for each host; default: one certificate for all. */
  readonly each: boolean
  readonly json: boolean
}

/** Every certificate is for this machine as well: `skein status` dials the coordinator beside it by these. */
const loopback = ['localhost', '127.0.0.1', '::1'] as const
const dayMs = 86_400_000
/** Clocks of machines differ. */
const backdatedMs = 3_600_000
const authorityDays = 3650

/**
 * `skein certs`: an authority (the folder's own, where it has one), and a certificate for the hosts, in files that `--tls DIR` takes. Keys are
 * for this user's eyes alone.
 */
export async function certs(options: CertsCommandOptions): Promise<number> {
  const { hosts, out, days, each, json } = options
  const now = Date.now()
  const validFor = (length: number) => ({
    notBefore: new Date(now - backdatedMs),
    notAfter: new Date(now + length * dayMs),
  })
  fs.mkdirSync(out, { recursive: true, mode: 0o700 })
  const authority = readAuthority(out) ?? (await issueAuthority('Skein', validFor(Math.max(days, authorityDays))))
  const named = each
    ? hosts.map(host => ({ folder: path.join(out, host), names: [host] }))
    : [{ folder: out, names: hosts }]
  const issued = await Promise.all(
    named.map(async ({ folder, names }) => ({
      folder,
      names,
      identity: await issueForHosts(authority, [...new Set([...names, ...loopback])], validFor(days)),
    })),
  )
  // Only now, when nothing can fail any more: half a set of files is worse than none.
  writeSecret(path.join(out, tlsFileNames.caKey), authority.key)
  writePublic(path.join(out, tlsFileNames.ca), authority.cert)
  for (const { folder, names, identity } of issued) {
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
    writeSecret(path.join(folder, tlsFileNames.key), identity.key)
    writePublic(path.join(folder, tlsFileNames.cert), identity.cert)
    writePublic(path.join(folder, tlsFileNames.ca), authority.cert)
    const facts = { event: 'certificate', folder, hosts: names, days }
    process.stdout.write(
      json ? `${JSON.stringify(facts)}\n` : `${names.join(', ')}, for ${days} days: pass --tls ${folder}\n`,
    )
  }
  if (!json) {
    const key = path.join(out, tlsFileNames.caKey)
    process.stdout.write(`${key} signs more certificates: keep it here, the other machines do not need it\n`)
  }
  return 0
}

function readAuthority(folder: string): Issued | undefined {
  const [cert, key] = [tlsFileNames.ca, tlsFileNames.caKey].map(name => path.join(folder, name)) as [string, string]
  if (!fs.existsSync(cert) || !fs.existsSync(key)) return undefined
  return { cert: fs.readFileSync(cert, 'utf8'), key: fs.readFileSync(key, 'utf8') }
}

const writeSecret = (file: string, text: string) => replace(file, text, 0o600)
const writePublic = (file: string, text: string) => replace(file, text, 0o644)

/** A new file, so that its mode is the one asked for, in the place of the old one at once. */
function replace(file: string, text: string, mode: number): void {
  const next = `${file}.new`
  fs.rmSync(next, { force: true })
  fs.writeFileSync(next, text, { mode, flag: 'wx' })
  fs.renameSync(next, file)
}
