import { spawn } from 'node:child_process'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { root } from '../skein-process.ts'
import { expectRefusal } from './expect-error.ts'

/** The CLI's own words to people: without --json. */
async function say(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [path.join(root, 'packages/cli/dist/main.js'), ...args], { timeout: 30_000 })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (text: Buffer) => {
    stdout += text.toString()
  })
  child.stderr.on('data', (text: Buffer) => {
    stderr += text.toString()
  })
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  return { status, stdout, stderr }
}

describe('the command line', () => {
  it('names the nearest command, and ends with status 2', async () => {
    expect(await say('trian', 'job.ts')).toEqual({
      status: 2,
      stdout: '',
      stderr:
        "error SKEIN_CLI_USAGE\n  what  unknown command 'trian'\n  do    did you mean train? See `skein --help`\n",
    })
  })

  it('names the nearest option', async () => {
    await expectRefusal(['train', 'job.ts', '--worker', '3'], {
      code: 'SKEIN_CLI_USAGE',
      status: 2,
      names: ['--worker', '--workers'],
    })
  })

  it('shows the help of a command of commands that stands alone, and names the nearest of its words', async () => {
    const alone = await say('schedule')
    expect(alone).toMatchObject({ status: 2, stderr: '' })
    expect(alone.stdout).toMatch(/^ {2}draw /mu)
    expect((await say('schedule', 'drow')).stderr).toContain('did you mean draw? See `skein schedule --help`')
  })

  it('refuses to go on with a run whose folder is not named', async () => {
    await expectRefusal(['coordinator', '--job', 'job.ts', '--workers', '1', '--continue'], {
      code: 'SKEIN_CLI_USAGE',
      status: 2,
      names: ['--continue', '--run-dir'],
    })
  })

  it('refuses values out of range, and says which are in it', async () => {
    await expectRefusal(['train', 'job.ts', '--workers', '0'], {
      code: 'SKEIN_CLI_USAGE',
      status: 2,
      names: ['--workers', '"0"', 'from 1 to 1024'],
    })
    await expectRefusal(['generate', '--checkpoint', 'c', '--prompt', 'p', '--temperature', '-1'], {
      code: 'SKEIN_CLI_USAGE',
      status: 2,
      names: ['--temperature'],
    })
  })

  it('has help for every command', async () => {
    const { status, stdout } = await say('--help')
    expect(status).toBe(0)
    for (const command of [
      'train',
      'coordinator',
      'worker',
      'generate',
      'score',
      'export',
      'doctor',
      'setup',
      'status',
      'watch',
    ]) {
      expect(stdout).toMatch(new RegExp(`^ {2}${command} `, 'mu'))
    }
    const help = await say('train', '--help')
    expect(help.stdout).toContain('--resume')
  })

  it('says what the machine has, as text and as one JSON object', async () => {
    const table = await say('doctor')
    expect(table.stdout).toMatch(/^device: (tensorflow-cuda|tensorflow-cpu|wasm|cpu) /mu)
    const { stdout } = await say('doctor', '--json')
    const facts = JSON.parse(stdout) as { event: string; device: { kind: string; reason: string }; facts: object }
    expect(facts.event).toBe('doctor')
    expect(facts.device.reason).toMatch(/\S/u)
    expect(Object.keys(facts.facts)).toContain('runtime')
  })
})
