// The library injects its parts through decorators, and says so only by failing without this.
import 'reflect-metadata'
import * as x509 from '@peculiar/x509'
import { SkeinError } from '@skein/core'
import { CertsErrors } from './errors.ts'
import { subjectName } from './subject-names.ts'

/** A certificate and its private key, both PEM text; the key is PKCS #8. */
export interface Issued {
  readonly cert: string
  readonly key: string
}

export interface Validity {
  readonly notBefore: Date
  readonly notAfter: Date
}

/** ECDSA on P-256: handshakes cost a tenth of what they do with RSA, and everything that speaks TLS 1.2 knows it. */
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const serialBytes = 16

/** An authority that signs certificates of hosts, and nothing below them. */
export async function issueAuthority(name: string, { notBefore, notAfter }: Validity): Promise<Issued> {
  const keys = await newKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: [{ CN: [name] }],
    notBefore,
    notAfter,
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return issued(certificate, keys)
}

/**
 * A certificate for all of `hosts` (names and IP addresses), for both ends of a connection: workers dial and are dialled. Never valid
 * for longer than its authority. @throws SKEIN_CERTS_BAD_HOST, SKEIN_CERTS_BAD_AUTHORITY
 */
export async function issueForHosts(authority: Issued, hosts: readonly string[], validity: Validity): Promise<Issued> {
  const names = hosts.map(subjectName)
  const { certificate: issuer, key: signingKey } = await openAuthority(authority, validity.notBefore)
  const keys = await newKeys()
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject: [{ CN: [hosts[0] ?? 'nobody'] }],
    issuer: issuer.subject,
    notBefore: validity.notBefore,
    notAfter: new Date(Math.min(validity.notAfter.getTime(), issuer.notAfter.getTime())),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension(names),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  })
  return issued(certificate, keys)
}

async function openAuthority(
  { cert, key }: Issued,
  now: Date,
): Promise<{ readonly certificate: x509.X509Certificate; readonly key: Key }> {
  let certificate: x509.X509Certificate
  let signingKey: Key
  let isPair: boolean
  try {
    certificate = new x509.X509Certificate(cert)
    signingKey = await crypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(key), algorithm, false, ['sign'])
    isPair = await signsFor(signingKey, certificate)
  } catch (cause) {
    throw badAuthority('the authority cannot be read', 'a file is damaged, or its key is not ECDSA on P-256', cause)
  }
  if (!isPair) throw badAuthority('the key is not that of the authority', 'the two files come from different folders')
  if (certificate.notAfter <= now)
    throw badAuthority(`the authority expired on ${certificate.notAfter.toISOString()}`, 'it was made long ago')
  return { certificate, key: signingKey }
}

async function signsFor(key: Key, certificate: x509.X509Certificate): Promise<boolean> {
  const text = new TextEncoder().encode('one pair?')
  const signature = await crypto.subtle.sign(algorithm, key, text)
  return crypto.subtle.verify(algorithm, await certificate.publicKey.export(algorithm, ['verify']), signature, text)
}

function badAuthority(what: string, why: string, cause?: unknown): SkeinError {
  return new SkeinError(CertsErrors.BAD_AUTHORITY, {
    what,
    why,
    todo: 'use the folder that an earlier call wrote, or another one for a new authority; then all hosts need new certificates',
    ...(cause === undefined ? {} : { cause }),
  })
}

type Key = Awaited<ReturnType<typeof crypto.subtle.importKey>>
type KeyPair = Awaited<ReturnType<typeof newKeys>>

const newKeys = () => crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])

/** Positive and not zero, as the standard wants. */
function newSerial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(serialBytes))
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')
}

async function issued(certificate: x509.X509Certificate, keys: KeyPair): Promise<Issued> {
  const key = x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')
  return { cert: `${certificate.toString('pem')}\n`, key: `${key}\n` }
}
