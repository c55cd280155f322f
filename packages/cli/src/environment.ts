import type { StoreEnvironment } from '@skein/checkpoint'

/** What Skein reads from the environment, here and nowhere below: flags win over it. */
export interface Environment {
  /** SKEIN_TOKEN: the shared secret of a run. */
  readonly token: string | undefined
  /** SKEIN_TLS: folder with certificate, key and authority, as `skein certs` makes it. */
  readonly tls: string | undefined
  /** SKEIN_DEVICE: the device to use instead of the best one. */
  readonly device: string | undefined
  /** SKEIN_LOG_LEVEL: trace, debug, info (default), warn, error. */
  readonly logLevel: string
  /** AWS_…: how a checkpoint store on S3 is reached. */
  readonly store: StoreEnvironment
}

export function readEnvironment(env: NodeJS.ProcessEnv = process.env): Environment {
  return {
    token: notEmpty(env['SKEIN_TOKEN']),
    tls: notEmpty(env['SKEIN_TLS']),
    device: notEmpty(env['SKEIN_DEVICE']),
    logLevel: notEmpty(env['SKEIN_LOG_LEVEL']) ?? 'info',
    store: Object.fromEntries(Object.entries(env).filter(([name]) => name.startsWith('AWS_'))),
  }
}

function notEmpty(value: string | undefined): string | undefined {
  return value === undefined || value === '' ? undefined : value
}
