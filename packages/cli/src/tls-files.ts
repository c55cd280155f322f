import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import type { TlsIdentity, TlsTrust } from '@skein/transport'
import { CliErrors } from './errors.ts'
import { usage } from './option-values.ts'

/** Names of the files that `skein certs` writes and `--tls DIR` reads. */
export const tlsFileNames = { ca: 'ca.pem', caKey: 'ca-key.pem', cert: 'cert.pem', key: 'key.pem' } as const

/** The TLS options of a command. */
export interface TlsOptions {
  /** Folder with all of them; each may be given apart. */
  readonly tls?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly tlsCa?: string
}

/**
 * What a listener shows; undefined where no option asks for TLS.
 * @throws SKEIN_CLI_USAGE for half a pair, SKEIN_CLI_TLS_FILE for a file that cannot be read
 */
export function readTlsIdentity(options: TlsOptions): TlsIdentity | undefined {
  const { ca, cert, key } = readTlsTrust(options) ?? {}
  if (cert !== undefined && key !== undefined) return { cert, key, ...(ca === undefined ? {} : { ca }) }
  if (ca === undefined) return undefined
  throw usage('--tls-ca came without a certificate', 'pass --tls-cert and --tls-key, too, or --tls DIR')
}

/** Whom a reader believes, and what it shows where it has it. @throws as readTlsIdentity */
export function readTlsTrust({ tls, tlsCert, tlsKey, tlsCa }: TlsOptions): TlsTrust | undefined {
  const inFolder = (name: string) => (tls === undefined ? undefined : path.join(tls, name))
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw usage('--tls-cert and --tls-key belong together', 'pass both, or --tls DIR')
  const cert = tlsCert ?? inFolder(tlsFileNames.cert)
  const key = tlsKey ?? inFolder(tlsFileNames.key)
  const ca = tlsCa ?? inFolder(tlsFileNames.ca)
  if (cert === undefined && ca === undefined) return undefined
  return {
    ...(cert === undefined || key === undefined ? {} : { cert: readPem(cert), key: readPem(key) }),
    ...(ca === undefined ? {} : { ca: readPem(ca) }),
  }
}

function readPem(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (cause) {
    throw new SkeinError(CliErrors.TLS_FILE, {
      what: `${path.resolve(file)} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'no reason given'})`,
      why: 'it is not there, or belongs to another user',
      todo: 'make certificates with `skein certs --hosts NAME,… --out DIR`, and pass --tls DIR',
      details: { file },
      cause,
    })
  }
}
