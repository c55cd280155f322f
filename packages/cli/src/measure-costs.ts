import { systemClock } from '@skein/core'
import { chooseDevice, type DeviceKind, openKernelDevice } from '@skein/device'
import type { Gpt2Model, Precision } from '@skein/job'
import { profileGpt2, profileGpt2Vocabulary } from '@skein/model'
import type { UnitProfile } from '@skein/planner'
import { type MeasuredCosts, usualMachine } from './costs-file.ts'

export interface MeasureOptions {
  readonly model: Gpt2Model
  /** Of a microbatch. */
  readonly samples: number
  /** Over which the vocabulary could be dealt out. */
  readonly ranks: number
  readonly precision: Precision
  readonly device?: string
  readonly threads?: number
}

/** So much shorter is the sequence by which is found out what a pass takes whatever its length. */
const shortening = 8

/** What a model's units take on a device of this machine; links and messages take what is usual. Trains nothing. */
export async function measureCosts(options: MeasureOptions): Promise<MeasuredCosts & { readonly device: string }> {
  const { model, samples, ranks, precision, device: prefer, threads } = options
  const choice = await chooseDevice(prefer === undefined ? {} : { prefer: prefer as DeviceKind })
  if (choice.warning !== undefined) process.stderr.write(`${choice.warning}\n`)
  const device = await openKernelDevice(choice.kind, {
    precision,
    ...(threads === undefined ? {} : { threads: { intraOp: threads, interOp: threads } }),
  })
  try {
    const profile = (context: number) =>
      profileGpt2({ config: { ...model, context }, device, samples }, { clock: systemClock })
    const units = profile(model.context)
    const short = Math.floor(model.context / shortening)
    const dispatchMs = short < 2 ? 0 : dispatchOf(units, profile(short), model.context / short)
    const vocabulary =
      ranks > 1 ? profileGpt2Vocabulary({ config: model, device, samples, ranks }, { clock: systemClock }) : undefined
    return {
      units,
      machine: { ...usualMachine, dispatchMs },
      ...(vocabulary === undefined ? {} : { vocabulary }),
      device: choice.kind,
    }
  } finally {
    device.dispose()
  }
}

/** The part of a pass that would be left with a sequence of no length, by the line through two lengths; of a block's forward. */
function dispatchOf(long: readonly UnitProfile[], short: readonly UnitProfile[], times: number): number {
  const [at, shorter] = [long[1]?.forward ?? 0, short[1]?.forward ?? 0]
  return Math.max(0, shorter - (at - shorter) / (times - 1))
}
