/**
 * A certificate authority of one's own, and certificates for the hosts of a run. PEM text in and out; files are the caller's.
 *
 * @example
 * const authority = await issueAuthority('my runs', { notBefore, notAfter })
 * const { cert, key } = await issueForHosts(authority, ['worker-1', '10.0.0.7'], { notBefore, notAfter })
 */
export { CertsErrors } from './errors.ts'
export { type Issued, issueAuthority, issueForHosts, type Validity } from './issue.ts'
