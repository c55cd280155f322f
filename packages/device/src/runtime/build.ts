import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { SkeinError } from '@skein/core'
import type { WheelPin } from '../config.ts'
import { DeviceErrors } from '../errors.ts'
import { compileAddon } from './compile.ts'
import { addCudaLibraries } from './cuda.ts'
import { downloadWheel } from './download.ts'
import { describeFiles, type RuntimeManifest } from './manifest.ts'
import { bindingName, libraryFolder, libraryNames, manifestName, type RuntimePlaces } from './places.ts'
import { type OnProgress, stageReporter } from './progress.ts'
import type { SetupPrograms } from './requirements.ts'
import { mustRun } from './run-command.ts'
import { extractZipEntry, listZip } from './zip.ts'

export interface BuildOptions {
  readonly onProgress?: OnProgress
  readonly signal?: AbortSignal
}

const CHECK_TIMEOUT_MS = 120_000

/** Name of a build's own folder: hidden, and beginning with the key so that the next holder of the lock can clear it up. */
export const temporaryPrefix = (key: string) => `.${key}.`

/**
 * Builds the runtime in a folder of its own beside the place where it belongs, and renames it there when it is whole and tried.
 * The wheel and the objects are removed in any case.
 * @throws SKEIN_DEVICE_SETUP_FAILED, SKEIN_DEVICE_ARCHIVE_BROKEN, SKEIN_ABORTED
 */
export async function buildRuntime(
  places: RuntimePlaces,
  tools: SetupPrograms,
  options: BuildOptions,
): Promise<RuntimeManifest> {
  const temporary = path.join(places.root, temporaryPrefix(places.key) + randomBytes(6).toString('hex'))
  const work = path.join(temporary, 'work')
  const runtime = path.join(temporary, 'runtime')
  fs.mkdirSync(work, { recursive: true })
  fs.mkdirSync(path.join(runtime, libraryFolder), { recursive: true })
  try {
    const wheel = await download(places.wheel, tools, work, options)
    await unpackAndCompile(wheel, tools, work, runtime, options)
    if (places.wheel.extra !== undefined) {
      await addCudaLibraries(wheel, places.wheel, { ...options, python: tools.python, folder: work, runtime })
    }
    const version = await tryBinding(path.join(runtime, libraryFolder, bindingName), options)
    const manifest = await finish(places, runtime, version, options)
    moveIntoPlace(runtime, places)
    return manifest
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true })
  }
}

async function download(pin: WheelPin, tools: SetupPrograms, work: string, options: BuildOptions): Promise<string> {
  const what = `${pin.name} ${pin.version} (with pip)`
  const report = stageReporter('download', what, options, pin.bytes)
  report(0)
  const wheel = await downloadWheel(pin, { ...options, python: tools.python, folder: work, onBytes: report })
  report(fs.statSync(wheel).size, true)
  return wheel
}

/** The two libraries are inflated one after the other (the disk is one); the compile needs 14 headers and runs beside. */
async function unpackAndCompile(
  wheel: string,
  tools: SetupPrograms,
  work: string,
  runtime: string,
  options: BuildOptions,
): Promise<void> {
  const entries = listZip(wheel)
  const includeDir = path.join(work, 'include')
  for (const entry of entries) {
    const inside = headerPath(entry.name)
    if (inside !== undefined) await extractZipEntry(wheel, entry, path.join(includeDir, inside), options)
  }
  const target = path.join(runtime, libraryFolder, bindingName)
  const ending = new AbortController()
  const signal = options.signal === undefined ? ending.signal : AbortSignal.any([ending.signal, options.signal])
  const both = { ...options, signal }
  const work1 = compile(tools.compiler, includeDir, work, target, both)
  const work2 = unpackLibraries(wheel, entries, runtime, both)
  try {
    await Promise.all([work1, work2])
  } catch (error) {
    ending.abort()
    await Promise.allSettled([work1, work2])
    throw error
  }
}

/** The headers that the addon includes, directly or not, lie in these folders of the wheel (checked with `g++ -M`). */
const headerFolders = ['tensorflow/c/', 'tensorflow/core/platform/', 'tsl/platform/', 'xla/tsl/c/']

function headerPath(member: string): string | undefined {
  const prefix = 'tensorflow/include/'
  if (!member.startsWith(prefix) || !member.endsWith('.h')) return undefined
  const inside = member.slice(prefix.length)
  return headerFolders.some(folder => inside.startsWith(folder)) ? inside : undefined
}

async function compile(
  compiler: string,
  includeDir: string,
  workDir: string,
  target: string,
  options: BuildOptions,
): Promise<void> {
  const report = stageReporter('compile', `the addon (with ${compiler})`, options)
  report()
  await compileAddon({ ...options, compiler, includeDir, workDir, target })
  report(undefined, true)
}

async function unpackLibraries(
  wheel: string,
  entries: ReturnType<typeof listZip>,
  runtime: string,
  options: BuildOptions,
): Promise<void> {
  const wanted = libraryNames.map(name => {
    const entry = entries.find(one => one.name === `tensorflow/${name}`)
    if (entry !== undefined) return { entry, target: path.join(runtime, libraryFolder, name) }
    throw new SkeinError(DeviceErrors.ARCHIVE_BROKEN, {
      what: `${path.basename(wheel)} has no tensorflow/${name}`,
      why: 'this version of TensorFlow ships its libraries under other names',
      todo: 'report it with the name of the wheel',
    })
  })
  const total = wanted.reduce((sum, { entry }) => sum + entry.bytes, 0)
  const report = stageReporter('unpack', libraryNames.join(', '), options, total)
  let before = 0
  for (const { entry, target } of wanted) {
    await extractZipEntry(wheel, entry, target, { ...options, onBytes: written => report(before + written) })
    before += entry.bytes
  }
  report(total, true)
}

const trial = `
const b = require(process.argv[1])
const x = b.createTensor([2, 2], b.TF_FLOAT, new Float32Array([1, 2, 3, 4]))
const no = name => ({ name, type: b.TF_ATTR_BOOL, value: false })
const attributes = [no('transpose_a'), no('transpose_b'), { name: 'T', type: b.TF_ATTR_TYPE, value: b.TF_FLOAT }]
const [y] = b.executeOp('MatMul', attributes, [x, x], 1)
console.log(JSON.stringify({ version: b.TF_Version, values: [...b.tensorDataSync(y.id)] }))
`

/** Loads the addon in a process of its own and multiplies two matrices: a crash there is a message here. */
async function tryBinding(binding: string, options: BuildOptions): Promise<string> {
  const report = stageReporter('check', 'a matrix product in a process of its own', options)
  report()
  const advice = 'this machine cannot run the library as it is; report it with the output of `skein doctor`'
  const result = await mustRun('trial of the new runtime', advice, process.execPath, ['-e', trial, binding], {
    ...options,
    env: { TF_CPP_MIN_LOG_LEVEL: '2' },
    timeoutMs: CHECK_TIMEOUT_MS,
  })
  const { version, values } = JSON.parse(result.stdout.trim().split('\n').at(-1) ?? '') as {
    version: string
    values: number[]
  }
  if (values.join() !== '7,10,15,22') {
    throw new SkeinError(DeviceErrors.SETUP_FAILED, {
      what: `the new runtime says that [[1,2],[3,4]]² is [${values.join()}]`,
      todo: advice,
    })
  }
  report(undefined, true)
  return version
}

async function finish(
  places: RuntimePlaces,
  runtime: string,
  tensorflowVersion: string,
  options: BuildOptions,
): Promise<RuntimeManifest> {
  const paths = filesUnder(runtime)
  const files = await describeFiles(runtime, paths)
  const manifest: RuntimeManifest = { format: 1, key: places.key, tensorflowVersion, files }
  fs.writeFileSync(path.join(runtime, manifestName), `${JSON.stringify(manifest, undefined, 2)}\n`, { flush: true })
  const total = files.reduce((sum, file) => sum + file.bytes, 0)
  options.onProgress?.({ stage: 'done', what: places.dir, doneBytes: total, totalBytes: total, ms: 0, ended: true })
  return manifest
}

function filesUnder(folder: string): string[] {
  const entries = fs.readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter(entry => entry.isFile())
  return files.map(entry => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join('/'))
}

/** A rename is whole or not at all. If another host won the race its runtime is as good, and this one is dropped. */
function moveIntoPlace(runtime: string, places: RuntimePlaces): void {
  try {
    fs.renameSync(runtime, places.dir)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
  }
  const folder = fs.openSync(places.root, 'r')
  fs.fsyncSync(folder)
  fs.closeSync(folder)
}
