import fs from 'node:fs'
import path from 'node:path'
import type { MachineProfile, UnitProfile, VocabularyProfile } from '@skein/planner'
import { z } from 'zod'
import { usage } from './option-values.ts'

const ms = z.number().min(0)
const bytes = z.number().min(0)

const unit = z.strictObject({
  name: z.string(),
  forward: ms,
  inputGrad: ms,
  weightGrad: ms,
  backward: ms,
  activationBytes: bytes,
  sharedBytes: bytes.exactOptional(),
  gradientBytes: z.number().exactOptional(),
  boundaryBytes: bytes,
  parameterBytes: bytes,
  tied: z.record(z.string(), bytes).exactOptional(),
})

/** What `--costs` names and `--save-costs` writes: JSON; times in ms, of one microbatch. */
const costsSchema = z.strictObject({
  units: z.array(unit).min(1),
  /** Dealt out over so many ranks. */
  vocabulary: z
    .strictObject({
      ranks: z.int().positive(),
      first: unit,
      last: unit,
      lookup: ms,
      logits: ms,
      gradients: ms,
      lookupGrad: ms,
      activationBytes: bytes,
      parameterBytes: bytes,
      boundaryBytes: bytes,
      foundBytes: bytes,
    })
    .exactOptional(),
  machine: z
    .strictObject({
      hopMs: ms.optional(),
      bytesPerMs: z.number().gt(0).optional(),
      messageMs: ms.optional(),
      messageMsPerByte: ms.optional(),
      dispatchMs: ms.optional(),
      copyBytesPerMs: z.number().gt(0).optional(),
    })
    .default({}),
})

export interface MeasuredCosts {
  readonly units: readonly UnitProfile[]
  readonly machine: MachineProfile
  /** Absent: how long a part of it takes is not known. */
  readonly vocabulary?: VocabularyProfile
}

/**
 * Of links and messages where nothing was measured: 10 Gbit/s and 0.1 ms one way, and what a message took of the device thread on
 * the machine of the benches: a tenth of a millisecond, and a copy of its bytes at 5 GB/s.
 */
export const usualMachine: MachineProfile = {
  hopMs: 0.1,
  bytesPerMs: 1.25e6,
  messageMs: 0.1,
  messageMsPerByte: 1 / 5e6,
  dispatchMs: 0,
}

const shape =
  'pass a file that --save-costs wrote, or { units: [{ name, forward, inputGrad, weightGrad, backward, activationBytes, boundaryBytes, parameterBytes }, …], machine: { hopMs, bytesPerMs, messageMs, … } }'

/** @throws SKEIN_CLI_USAGE that names the file and what is wrong in it */
export function readCosts(file: string): MeasuredCosts {
  const what = `--costs is ${file}`
  let value: unknown
  try {
    value = JSON.parse(fs.readFileSync(file, 'utf8'))
  } catch (error) {
    throw usage(
      `${what}, which cannot be read as JSON: ${error instanceof Error ? error.message : String(error)}`,
      shape,
    )
  }
  const result = costsSchema.safeParse(value)
  if (!result.success) {
    const problems = result.error.issues.map(issue => `${issue.path.map(String).join('.')}: ${issue.message}`)
    throw usage(`${what}, which has other fields than costs have: ${problems.slice(0, 5).join('; ')}`, shape)
  }
  const { machine, ...measured } = result.data
  return { ...measured, machine: withDefined(machine) }
}

export function writeCosts(file: string, { units, machine, vocabulary }: MeasuredCosts): void {
  fs.mkdirSync(path.dirname(path.resolve(file)), { recursive: true })
  fs.writeFileSync(file, `${JSON.stringify({ units, machine, vocabulary }, null, 2)}\n`)
}

function withDefined(machine: { readonly [Key in keyof MachineProfile]?: MachineProfile[Key] | undefined }) {
  const given = Object.entries(machine).filter(([, value]) => value !== undefined)
  return { ...usualMachine, ...Object.fromEntries(given) } as MachineProfile
}
