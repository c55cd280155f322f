import type { ErrorRecord } from '@skein/core'
import { z } from 'zod'
import { whyNotJson } from './json-value.ts'

/** Fields that several control messages share. Every string and array has a bound: a peer chooses what it sends. */
export const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
export const uint32 = z.number().int().min(0).max(0xffff_ffff)
export const rank = z.number().int().min(0).max(0xffff)
/** Of a model that is cut in so many; a worker's is rank modulo `parts`. */
export const parts = z.number().int().min(1).max(4_096)
export const part = z.number().int().min(0).max(4_095)
export const ms = z.number().min(0)
/** NaN and infinities too: a loss that diverged is news that must arrive. */
export const loss = z.custom<number>(value => typeof value === 'number', 'not a number')
/** Also a part of file names. */
export const workerName = z.string().regex(/^[A-Za-z0-9._-]{1,100}$/, 'not 1–100 letters, digits, ".", "_" or "-"')
export const name = z.string().min(1).max(200)
export const text = z.string().max(4_096)
export const path = z.string().min(1).max(4_096)
/** 64 bits of lanes16 as 16 hex digits. */
export const digest = z.string().regex(/^[0-9a-f]{16}$/, 'not 16 hex digits')

export const json = z.unknown().superRefine((value, context) => {
  const problem = whyNotJson(value)
  if (problem !== undefined) context.addIssue({ code: 'custom', message: `${problem}; only plain JSON values travel` })
})

export const laneAddress = z.strictObject({
  host: z.string().min(1).max(255),
  port: z.number().int().min(1).max(65_535),
  /** A Unix socket for peers with the same host id. */
  local: z.strictObject({ hostId: z.string().min(1).max(200), path: z.string().min(1).max(107) }).exactOptional(),
})

/** States of a part that a worker can go on from, the newest first. */
export const heldStates = z
  .array(z.strictObject({ part, step: count, digest }))
  .max(2)
  .readonly()

/** What a worker keeps of mirrored steps, the newest first: its own part by the first digest, its neighbour's by the second. */
export const keptSteps = z
  .array(z.strictObject({ step: count, part, digests: z.tuple([digest, digest]).readonly() }))
  .max(2)
  .readonly()

const jsonObject = z.record(z.string(), z.unknown()).superRefine((value, context) => {
  const problem = whyNotJson(value)
  if (problem !== undefined) context.addIssue({ code: 'custom', message: `${problem}; only plain JSON values travel` })
})

export const errorRecord: z.ZodType<ErrorRecord> = z.strictObject({
  code: z.string().regex(/^SKEIN_[A-Z0-9_]{1,100}$/, 'not a code of Skein'),
  retry: z.enum(['never', 'same-op', 'next-generation']),
  what: text,
  why: text.exactOptional(),
  todo: text,
  details: jsonObject,
})
