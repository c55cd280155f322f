import { parseArgs } from 'node:util'

/** Wrong arguments: the message is for the user, with nothing behind it. */
export class UsageError extends Error {}

export const usage = `usage: node scripts/shaped-link.mjs [options] -- COMMAND [ARGUMENT …]
       node scripts/shaped-link.mjs [options] --hold
       node scripts/shaped-link.mjs --check

Makes network namespaces, each joined to a hub by a link with a rate and a delay, and runs COMMAND in each. Root only.

  --nodes N          namespaces (default 2, at most 16)
  --rate-mbit R      of each link, both ways at once; or one for each node: 1000,1000,100 (default 1000)
  --rtt-ms T         round trip between any two nodes; or one for each node, then that of two nodes is the mean of theirs (default 1)
  --queue-ms Q       what a link holds before it drops, in ms of its rate (default 50)
  --limit-s S        ends everything after it, exit status 124 (default 600)
  --tun              carry packets in user space also where the kernel has netem
  --hold             no command: prints {ready, carrier, nodes: [{namespace, address, interface}]} as a line of JSON, and stays until
                     its stdin ends; run programs inside with: ip netns exec NAMESPACE …
  --check            measures 1000 Mbit/s with 1 ms and 100 Mbit/s with 40 ms, between 2 nodes and among 4

COMMAND finds SHAPED_LINK_NODE (0 …) and SHAPED_LINK_ADDRESSES (10.201.0.1,10.201.0.2,…) in its environment. One that fails ends the others; its
status is that of this program. A run that was killed leaves namespaces named skein-link-*; the next run removes them.`

const flags = {
  nodes: { type: 'string', default: '2' },
  'rate-mbit': { type: 'string', default: '1000' },
  'rtt-ms': { type: 'string', default: '1' },
  'queue-ms': { type: 'string', default: '50' },
  'limit-s': { type: 'string', default: '600' },
  tun: { type: 'boolean', default: false },
  hold: { type: 'boolean', default: false },
  check: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
}

/** The arguments as `{ help, check, hold, command, limitS, tun, links: [{ rateMbit, rttMs, queueMs }] }`. @throws UsageError */
export function parseOptions(args) {
  let parsed
  try {
    parsed = parseArgs({ args, options: flags, allowPositionals: true })
  } catch (error) {
    throw new UsageError(error.message)
  }
  const { values, positionals: command } = parsed
  const numNodes = numberOf('nodes', values.nodes, { min: 2, max: 16, isWhole: true })
  const [queueMs] = numbersOf('queue-ms', values['queue-ms'], 1, { min: 0.1, max: 10_000 })
  const rates = numbersOf('rate-mbit', values['rate-mbit'], numNodes, { min: 0.1, max: 100_000 })
  const rtts = numbersOf('rtt-ms', values['rtt-ms'], numNodes, { min: 0, max: 10_000 })
  const { hold, check, help, tun } = values
  const asked = [command.length > 0, hold, check].filter(Boolean).length
  if (!help && asked !== 1) throw new UsageError('give one of: a command after --, --hold, --check')
  return {
    help,
    check,
    hold,
    tun,
    command,
    limitS: numberOf('limit-s', values['limit-s'], { min: 1, max: 86_400 }),
    links: rates.map((rateMbit, node) => ({ rateMbit, rttMs: rtts[node], queueMs })),
  }
}

/** One number for all, or one for each. */
function numbersOf(name, text, count, range) {
  const given = text.split(',').map(part => numberOf(name, part, range))
  if (given.length === 1) return Array.from({ length: count }, () => given[0])
  if (given.length === count) return given
  throw new UsageError(`--${name} has ${given.length} values for ${count} nodes: give one, or one for each`)
}

function numberOf(name, text, { min, max, isWhole = false }) {
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (value >= min && value <= max && (!isWhole || Number.isInteger(value))) return value
  throw new UsageError(
    `--${name} is '${text}': a ${isWhole ? 'whole number' : 'number'} from ${min} to ${max} is wanted`,
  )
}
