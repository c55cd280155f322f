import fs from 'node:fs'

/** What is read to tell hosts apart; injected by tests. */
export interface HostReads {
  /** The text of a file. */
  file(path: string): string
  /** Where a symbolic link points. */
  link(path: string): string
}

const systemReads: HostReads = { file: path => fs.readFileSync(path, 'utf8'), link: path => fs.readlinkSync(path) }

/**
 * Names this host as far as a Unix socket reaches: processes with the same id see each other's socket paths. It changes with the boot,
 * and containers have their own: the mount namespace, because paths differ there, and the network namespace, because a network between
 * two that is shaped or watched is meant to be used. Undefined where the system does not say (not Linux, no /proc): then
 * nobody is known to be on this host.
 */
export function hostId(reads: HostReads = systemReads): string | undefined {
  try {
    const boot = reads.file('/proc/sys/kernel/random/boot_id').trim()
    const [mounts, network] = ['mnt', 'net'].map(name => /\[(\d+)\]/.exec(reads.link(`/proc/self/ns/${name}`))?.[1])
    return boot === '' || mounts === undefined || network === undefined ? undefined : `${boot}-${mounts}-${network}`
  } catch {
    return undefined
  }
}

/** Whether two processes, by what each advertises of itself, are on one host. */
export function isSameHost(own: string | undefined, peer: string | undefined): boolean {
  return own !== undefined && own === peer
}
