import { runCommand } from './run-command.ts'

/** Whether one thing that Skein wants is there: its value, or what to do to get it. */
export interface Fact {
  readonly ok: boolean
  /** What was found, or what is missing. */
  readonly value: string
  /** What would make it right; absent when nothing needs to be done. */
  readonly advice?: string
}

const PROBE_TIMEOUT_MS = 20_000

/** The Python that can run pip: `python3`, else `python` if that is a Python 3. */
export async function findPython(signal?: AbortSignal): Promise<Fact & { readonly program?: string }> {
  for (const program of ['python3', 'python']) {
    const result = await probe(program, ['-c', 'import sys; print("%d.%d.%d" % sys.version_info[:3])'], signal)
    if (result !== undefined && result.startsWith('3.')) return { ok: true, value: `${program} ${result}`, program }
  }
  return { ok: false, value: 'no python3', advice: install('python3 python3-pip') }
}

/** pip of that Python. */
export async function findPip(python: string | undefined, signal?: AbortSignal): Promise<Fact> {
  const version = python === undefined ? undefined : await probe(python, ['-m', 'pip', '--version'], signal)
  if (version !== undefined) return { ok: true, value: version.split(' ').slice(0, 2).join(' ') }
  return { ok: false, value: 'no pip for python3', advice: install('python3-pip') }
}

/** The C++ compiler: `g++`, else `c++`. */
export async function findCompiler(signal?: AbortSignal): Promise<Fact & { readonly program?: string }> {
  for (const program of ['g++', 'c++']) {
    const version = await probe(program, ['--version'], signal)
    if (version !== undefined) return { ok: true, value: version, program }
  }
  return { ok: false, value: 'no g++', advice: install('g++') }
}

/** The programs of a set-up, and everything that is missing in one list, so that one `apt-get install` mends it. */
export interface Tools {
  readonly python?: string
  readonly compiler?: string
  /** Such as `pip for python3`. */
  readonly missing: readonly string[]
  /** Debian packages that bring what is missing. */
  readonly packages: readonly string[]
}

export async function findTools(signal?: AbortSignal): Promise<Tools> {
  const [python, compiler] = await Promise.all([findPython(signal), findCompiler(signal)])
  const pip = await findPip(python.program, signal)
  const rows: readonly (readonly [boolean, string, string])[] = [
    [python.ok, 'python3', 'python3'],
    [pip.ok, 'pip for python3', 'python3-pip'],
    [compiler.ok, 'g++', 'g++'],
  ]
  const wanting = rows.filter(([ok]) => !ok)
  return {
    ...(python.program === undefined ? {} : { python: python.program }),
    ...(compiler.program === undefined ? {} : { compiler: compiler.program }),
    missing: wanting.map(row => row[1]),
    packages: wanting.map(row => row[2]),
  }
}

const install = (packages: string) =>
  `install it: \`apt-get install ${packages}\` (Debian, Ubuntu), or your system's packages of the same names`

/** First line of what a program says, or undefined when it is not there or fails. */
export async function probe(
  program: string,
  args: readonly string[],
  signal?: AbortSignal,
): Promise<string | undefined> {
  const options = { timeoutMs: PROBE_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) }
  const result = await runCommand(program, args, options)
  return result.status === 0 ? result.stdout.trim().split('\n')[0] : undefined
}
