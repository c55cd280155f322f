import fs from 'node:fs'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { SkeinError } from '@skein/core'
import { temporaryFolder } from '@skein/testkit'
import { expect, test } from 'vitest'
import { createLogger, nullLogger } from './create-logger.ts'
import { TelemetryErrors } from './errors.ts'
import type { LogFields } from './logger.ts'

const linesOf = (text: string) =>
  text
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)

async function logged(use: (logger: ReturnType<typeof createLogger>) => void, level = 'trace') {
  using folder = temporaryFolder('telemetry')
  const file = path.join(folder.path, 'run', 'logs', 'w0.log')
  const logger = createLogger({ file, level, bindings: { workerId: 'w0', pkg: 'worker' } })
  use(logger)
  await logger.close()
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''
}

test('a line is one JSON object with level, time, bindings, fields and the event', async () => {
  const text = await logged(logger => logger.child({ rank: 3 }).info({ opSeq: 7, durMs: 1.5 }, 'op.done'))
  const [line] = linesOf(text)
  expect(line).toMatchObject({ level: 'info', workerId: 'w0', pkg: 'worker', rank: 3, opSeq: 7, event: 'op.done' })
  expect(Number.isNaN(Date.parse(String(line?.['time'])))).toBe(false)
})

test('ten thousand lines are all in the file after close, in order', async () => {
  const text = await logged(logger => {
    for (let i = 0; i < 10_000; i++) logger.debug({ i }, 'tick')
  })
  expect(linesOf(text).map(line => line['i'])).toEqual(Array.from({ length: 10_000 }, (_, i) => i))
})

test('lines below the level are not written, and `enabled` says so', async () => {
  const text = await logged(logger => {
    expect(logger.enabled('debug')).toBe(false)
    expect(logger.enabled('warn')).toBe(true)
    logger.debug('unseen')
    logger.warn('seen')
  }, 'info')
  expect(linesOf(text).map(line => line['event'])).toEqual(['seen'])
})

test('an error under err is written with its code, facts and stack', async () => {
  const error = new SkeinError(TelemetryErrors.LEVEL_UNKNOWN, { what: 'w', todo: 't', details: { level: 'x' } })
  const text = await logged(logger => {
    logger.error({ err: error }, 'failed')
    logger.error({ err: new TypeError('plain') }, 'failed')
  })
  const [skein, plain] = linesOf(text)
  expect(skein?.['err']).toMatchObject({ code: 'SKEIN_TELEMETRY_LEVEL_UNKNOWN', details: { level: 'x' } })
  expect(plain?.['err']).toMatchObject({ what: 'plain', stack: expect.stringContaining('TypeError') as string })
})

test('fields that cannot be written never throw: circular, BigInt, throwing getters', async () => {
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  const throwing = Object.defineProperty({}, 'x', {
    enumerable: true,
    get() {
      throw new Error('no')
    },
  })
  const text = await logged(logger => {
    for (const value of [circular, 10n, throwing]) logger.info({ value } as LogFields, 'odd')
    logger.info('after')
  })
  expect(linesOf(text).at(-1)).toMatchObject({ event: 'after' })
})

test('a file that cannot be opened costs lines, not the process; close still returns', async () => {
  using folder = temporaryFolder('telemetry')
  const blocker = path.join(folder.path, 'a-file')
  fs.writeFileSync(blocker, '')
  const logger = createLogger({ file: path.join(blocker, 'w0.log') })
  logger.info('lost')
  await logger.flush()
  await logger.close()
  logger.info('after close')
  expect(fs.readFileSync(blocker, 'utf8')).toBe('')
})

test('close is idempotent, shared by children, and later lines are dropped', async () => {
  const text = await logged(logger => {
    logger.info('one')
    const child = logger.child({ rank: 0 })
    void child.close()
    child.info('two')
    logger.info('three')
  })
  expect(linesOf(text).map(line => line['event'])).toEqual(['one'])
})

test('a stream is written to but stays open', async () => {
  const stream = new PassThrough()
  const logger = createLogger({ stream })
  logger.info('to the stream')
  await logger.close()
  expect(stream.writableEnded).toBe(false)
  expect(String(stream.read())).toContain('to the stream')
})

test('an unknown level is refused with the nearest one', () => {
  expect(() => createLogger({ level: 'inof' })).toThrow(/"info" is the nearest/)
})

test('the null logger is silent at every level', async () => {
  expect(nullLogger.enabled('error')).toBe(false)
  nullLogger.child({ rank: 1 }).error({ x: 1 }, 'nothing')
  await nullLogger.close()
})
