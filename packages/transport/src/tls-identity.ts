import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import tls from 'node:tls'
import { SkeinError } from '@skein/core'
import { TransportErrors } from './errors.ts'
import type { Refusal } from './refusal.ts'

/** Whom a dialer believes, and what it shows where it is asked; PEM text. */
export interface TlsTrust {
  /** Authorities whose certificates are believed; default: those of the system. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

/** What a listener shows; with `ca`, its links and lanes are for those alone who show a certificate of it. PEM text. */
export interface TlsIdentity extends TlsTrust {
  readonly cert: string
  readonly key: string
}

/** Both ends are Node, so that nothing older has to be spoken. */
const minVersion = 'TLSv1.3'

/**
 * Looks at an identity before anything is opened with it. `nowMs` is the wall clock.
 * @throws SKEIN_TRANSPORT_TLS_IDENTITY when a part cannot be read, the key is another's, or the certificate is not valid now
 */
export function checkTlsIdentity({ cert, key, ca }: TlsIdentity, nowMs: number): void {
  const certificate = readPart('certificate', () => new X509Certificate(cert))
  const privateKey = readPart('key', () => createPrivateKey(key))
  if (ca !== undefined) readPart('authority', () => new X509Certificate(ca))
  if (!certificate.checkPrivateKey(privateKey)) throw badIdentity('the key is not that of the certificate')
  const { validFrom, validTo } = certificate
  if (nowMs > Date.parse(validTo)) throw badIdentity(`the certificate expired on ${validTo}`)
  if (nowMs < Date.parse(validFrom)) {
    throw badIdentity(
      `the certificate is valid from ${validFrom} on`,
      'the clock of this machine or of its maker is wrong',
    )
  }
}

function readPart<T>(part: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw badIdentity(`the ${part} cannot be read`, 'it is not PEM text, is damaged, or asks for a passphrase', cause)
  }
}

function badIdentity(what: string, why = 'the files do not belong together, or are old', cause?: unknown): SkeinError {
  return new SkeinError(TransportErrors.TLS_IDENTITY, {
    what,
    why,
    todo: 'make new ones with `skein certs`, or pass the files that belong together',
    ...(cause === undefined ? {} : { cause }),
  })
}

/** For a server. Certificates of clients are asked for where there is an authority, and judged by `certificateRefusal`, which can say why. */
export function tlsServerOptions({ cert, key, ca }: TlsIdentity): tls.TlsOptions {
  const asking = ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: false }
  return { cert, key, minVersion, ...asking }
}

export function tlsClientOptions({ cert, key, ca }: TlsTrust): tls.SecureContextOptions {
  return {
    minVersion,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  }
}

/** Why a client may not have a link or lane, if its listener asks for certificates and this one's is missing or no good. */
export function certificateRefusal({ socket }: IncomingMessage): Refusal | undefined {
  // Neither a plain socket nor a server that has not asked.
  if (!(socket instanceof tls.TLSSocket) || socket.authorized || !isAsked(socket)) return undefined
  const why = `this listener is for those who show a certificate of its authority (${String(socket.authorizationError)})`
  return { status: 403, reason: 'noCertificate', why }
}

/** Node notes why a client is not authorized only where its certificate was asked for. */
function isAsked(socket: tls.TLSSocket): boolean {
  return (socket.authorizationError as unknown) !== null && (socket.authorizationError as unknown) !== undefined
}

/** What a failed TLS handshake means at the dialer; undefined for what is no matter of TLS. */
export function tlsDialError(address: string, cause: unknown): SkeinError | undefined {
  if (!(cause instanceof Error) || !('code' in cause) || typeof cause.code !== 'string') return undefined
  // Where it comes up while writing, Node keeps OpenSSL's words and loses its code.
  const reason = cause.code === 'EPROTO' ? /SSL routines:\w*:([^:]+):/.exec(cause.message)?.[1] : undefined
  const code = reason === undefined ? cause.code : `ERR_SSL_${reason.toUpperCase().replaceAll(' ', '_')}`
  const details = { address, tls: code }
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return new SkeinError(TransportErrors.TLS_NOT_SPOKEN, {
      what: `${address} does not speak TLS`,
      why: 'it was started without a certificate, or another program listens there',
      todo: 'start it with --tls, too, or use http:// and no --tls here; compare host and port',
      details,
      cause,
    })
  }
  if (code.includes('_ALERT_')) {
    return new SkeinError(TransportErrors.TLS_REFUSED, {
      what: `${address} refused the TLS handshake (${code})`,
      why: 'it wants a certificate of its own authority, or another version of TLS',
      todo: 'pass the certificate that `skein certs` made for this host together with that one: --tls DIR',
      details,
      cause,
    })
  }
  const untrusted = untrustedBecause(code)
  if (untrusted === undefined) return undefined
  return new SkeinError(TransportErrors.TLS_UNTRUSTED, {
    what: `the certificate of ${address} is not to be trusted: ${cause.message.slice(0, 300)}`,
    why: untrusted[0],
    todo: untrusted[1],
    details,
    cause,
  })
}

function untrustedBecause(code: string): readonly [why: string, todo: string] | undefined {
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return [
      'it was made for other names than the one that was dialled, or another host answers there',
      'dial one of its names, or make one with that name: skein certs --hosts NAME,…',
    ]
  }
  if (code === 'CERT_HAS_EXPIRED')
    return ['its time is over', 'make new ones with `skein certs`, and start that process again']
  if (code === 'CERT_NOT_YET_VALID') return ['its time has not come: one of the two clocks is wrong', 'set the clocks']
  if (/^(DEPTH_ZERO_)?SELF_SIGNED_CERT|^UNABLE_TO_|^CERT_|^INVALID_/.test(code)) {
    return [
      'it is of an authority that this side does not know',
      'pass the ca.pem that was made together with it: --tls-ca FILE, or --tls DIR',
    ]
  }
  return undefined
}

/** A listener's name for TLS to check against: addresses are not sent, but checked all the same. */
export function serverNameOf(host: string, isAddress: boolean): { readonly servername?: string } {
  return isAddress ? {} : { servername: host }
}
