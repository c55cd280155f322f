import { chooseDevice, type DeviceChoice, type Fact, inspectMachine } from '@skein/device'
import { paint } from '../view/text.ts'

/** `skein doctor`: what this machine has, which device is chosen and why, what would make it better. Status 1 when a fact is wrong. */
export async function doctor(options: { readonly json: boolean; readonly signal: AbortSignal }): Promise<number> {
  const { signal } = options
  const [facts, choice] = await Promise.all([inspectMachine({ signal }), chooseDevice({ signal })])
  const rows = Object.entries(facts as unknown as Readonly<Record<string, Fact>>)
  const ok = rows.every(([, fact]) => fact.ok)
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ event: 'doctor', ok, device: choice, facts })}\n`)
  } else {
    const text = doctorText(rows, choice, process.stdout.hasColors?.() ?? false)
    process.stdout.write(`${text}\n`)
  }
  return ok ? 0 : 1
}

/** The table as text: a row a fact, with what to do below the ones that are wrong, then the choice of the device. */
export function doctorText(rows: readonly (readonly [string, Fact])[], choice: DeviceChoice, colours: boolean): string {
  const mark = (good: boolean) => {
    const word = good ? 'ok  ' : 'MISS'
    return colours ? paint(good ? 'green' : 'red', word) : word
  }
  const width = Math.max(...rows.map(([name]) => name.length), 'device'.length)
  const lines = rows.flatMap(([name, fact]) => [
    `${mark(fact.ok)}  ${name.padEnd(width)}  ${fact.value}`,
    ...(fact.advice === undefined ? [] : [`${' '.repeat(6 + width)}  → ${fact.advice}`]),
  ])
  lines.push('', `device: ${choice.kind} ${choice.version} (${choice.reason})`)
  for (const refusal of choice.refused) {
    lines.push(`  not ${refusal.kind}: ${refusal.reason}`)
    if (refusal.advice !== undefined) lines.push(`    → ${refusal.advice}`)
  }
  if (choice.warning !== undefined) lines.push('', choice.warning)
  return lines.join('\n')
}
