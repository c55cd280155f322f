import type { ErrorRecord } from '@skein/core'
import { MembershipErrors } from './errors.ts'
import { formatGroups } from './members.ts'
import { errorRecord } from './refusing.ts'
import type { LoadReport, Member } from './state.ts'

/** The first thing that workers do not agree on; undefined when they do. */
export function loadDisagreement(members: readonly Member[]): ErrorRecord | undefined {
  const data = groupBy(members, report => report.dataFingerprint)
  if (data.size > 1) {
    return errorRecord(MembershipErrors.DATA_MISMATCH, {
      what: `the workers found different training data: ${formatGroups(data)}`,
      why: 'their data folders differ, or a file changed while they were starting',
      todo: 'give every worker the same files (compare the folders), or one shared folder',
      details: Object.fromEntries(data),
    })
  }
  const params = groupBy(members, report => String(report.numParams))
  if (params.size <= 1) return undefined
  return errorRecord(MembershipErrors.MODEL_MISMATCH, {
    what: `the workers built different models: ${formatGroups(params, 'parameters')}`,
    why: 'they run different versions of Skein, or a job file that builds another model on each of them',
    todo: 'install the same version everywhere and make the job file deterministic',
    details: Object.fromEntries(params),
  })
}

/** In what a member differs from what the run is trained on; undefined where it does not, or has not loaded yet. */
export const disagreementWithRun = (member: Member, run: LoadReport): ErrorRecord | undefined =>
  loadDisagreement([{ ...member, workerId: 'the run', loaded: run }, member])

function groupBy(members: readonly Member[], value: (report: LoadReport) => string): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const { loaded, workerId } of members) {
    if (loaded === undefined) continue
    const key = value(loaded)
    groups.set(key, [...(groups.get(key) ?? []), workerId])
  }
  return groups
}
