import path from 'node:path'
import { type Checkpoint, type NamedTensor, openCheckpoint } from '@skein/checkpoint'
import { temporaryFolder } from '@skein/testkit'
import { expect, it } from 'vitest'
import { runSkein, stepsOf, tinyJob } from '../skein-process.ts'

const steps = 3

/** Parameters and both moments, by name. */
async function tensorsOf(checkpoint: Checkpoint): Promise<Record<string, readonly Float32Array[]>> {
  const parameters = (await checkpoint.readParameters()) as (NamedTensor & { readonly data: Float32Array })[]
  const zeros = () => parameters.map(tensor => ({ ...tensor, data: new Float32Array(tensor.data.length) }))
  const [expAvg, expAvgSq] = [zeros(), zeros()]
  await checkpoint.readMomentsInto(expAvg, expAvgSq)
  const entries = parameters.map(({ name, data }, i) => [name, [data, expAvg[i]?.data, expAvgSq[i]?.data]] as const)
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1))) as Record<string, readonly Float32Array[]>
}

it('a checkpoint goes from mesh to mesh, and every tensor stays as it was, tied parameters and rows of a vocabulary once', async () => {
  using folder = temporaryFolder('meshes')
  const meshes = [
    ['--workers', '2'],
    ['--workers', '4', '--pp', '2', '--schedule', 'zb-v'],
    ['--workers', '4', '--pp', '4'],
    // Two pipes: both workers hold all stages.
    ['--workers', '2', '--pp', '2', '--schedule', 'bitpipe'],
    ['--workers', '2', '--pp', '2'],
    ['--workers', '2', '--pp', '2', '--vocabulary', 'sharded'],
    ['--workers', '3', '--pp', '3', '--vocabulary', 'sharded', '--schedule', 'zb-h1'],
    ['--workers', '4', '--pp', '2', '--vocabulary', 'sharded', '--schedule', '2bp'],
    ['--workers', '1'],
  ]
  let before: { readonly path: string; readonly tensors: Record<string, readonly Float32Array[]> } | undefined
  for (const [i, mesh] of meshes.entries()) {
    const runDir = path.join(folder.path, `run${i}`)
    const resume = before === undefined ? [] : ['--resume', before.path]
    const args = ['train', tinyJob, '--steps', String(steps), '--run-dir', runDir, '--json', ...mesh, ...resume]
    const events = await runSkein(args)
    // Those that go on have nothing to make: they take what they were given to disk again.
    expect(stepsOf(events)).toHaveLength(before === undefined ? steps : 0)
    await using checkpoint = await openCheckpoint(String(events.at(-1)?.['checkpoint']))
    expect(checkpoint.manifest.step).toBe(steps)
    expect(checkpoint.path.startsWith(runDir), 'its own').toBe(true)
    const tensors = await tensorsOf(checkpoint)
    const pp = mesh.includes('--pp') ? Number(mesh[mesh.indexOf('--pp') + 1]) : undefined
    expect(checkpoint.manifest.parts).toBe(pp)
    const stored = checkpoint.manifest.files.filter(file => file.name.startsWith('model'))
    expect(stored).toHaveLength(pp ?? 1)
    const isSharded = mesh.includes('sharded')
    expect(stored.map(({ rows }) => Object.keys(rows ?? {}))).toEqual(
      stored.map(() => (isSharded ? ['transformer.wte.weight'] : [])),
    )
    if (before !== undefined) expect(tensors, mesh.join(' ')).toEqual(before.tensors)
    before = { path: checkpoint.path, tensors }
  }
}, 180_000)
