/** The name of a run's folder: that of its job, and when it was started. */
export function runFolderName(jobName: string, now: Date): string {
  return `${jobName}-${timestamp(now)}`
}

/** Whether a folder is of a run of the job: `NAME-DATE-TIME`, or a number in place of these; `NAME-OTHER-DATE-TIME` is of another job. */
export function isRunFolderOf(jobName: string, folder: string): boolean {
  return folder.startsWith(`${jobName}-`) && /^(?:\d{8}-\d{6}|\d+)$/u.test(folder.slice(jobName.length + 1))
}

/** Local time as 20260131-235959: sorts by age, and is a file name everywhere. */
function timestamp(now: Date): string {
  const two = (value: number) => String(value).padStart(2, '0')
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`
  return `${date}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`
}
