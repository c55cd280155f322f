// HEALTHCHECK of the image, for whichever command the container runs. Healthy means: a coordinator answers on its port;
// a worker has a connection that stands. Exit status 0 or 1, one line of reason.
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'

const args = fs.readFileSync('/proc/1/cmdline', 'utf8').split('\0')
const ESTABLISHED = '01'
const LISTENING = '0A'

/** Value of `--name value` or `--name=value`. */
function option(name) {
  const joined = args.find(arg => arg.startsWith(`${name}=`))
  if (joined !== undefined) return joined.slice(name.length + 1)
  return args.includes(name) ? args[args.indexOf(name) + 1] : undefined
}

/** Rows of /proc/net of sockets in this state. */
function sockets(state) {
  return ['/proc/net/tcp', '/proc/net/tcp6']
    .filter(file => fs.existsSync(file))
    .flatMap(file => fs.readFileSync(file, 'utf8').trim().split('\n').slice(1))
    .filter(row => row.trim().split(/\s+/)[3] === state)
}

async function coordinatorAnswers() {
  const hasTls = args.some(arg => /^--tls(-cert)?(=|$)/.test(arg)) || Boolean(process.env.SKEIN_TLS)
  const port = Number(option('--port') ?? 0)
  // A port that it drew itself: that it listens is all that can be seen from here.
  if (port === 0) {
    const listening = sockets(LISTENING).length
    return { healthy: listening > 0, reason: `${listening} sockets listen` }
  }
  const given = option('--host')
  const host = given === undefined || ['0.0.0.0', '::'].includes(given) ? '127.0.0.1' : given
  // It asks itself: whose certificate that is does not matter.
  const options = { host, port, path: '/healthz', rejectUnauthorized: false }
  const request = (hasTls ? https : http).get({ ...options, signal: AbortSignal.timeout(3000) })
  const [response] = await once(request, 'response')
  response.resume()
  return { healthy: response.statusCode === 200, reason: `/healthz answered ${response.statusCode}` }
}

function workerIsConnected() {
  const standing = sockets(ESTABLISHED).length
  return { healthy: standing > 0, reason: `${standing} connections stand` }
}

try {
  const { healthy, reason } = args.includes('coordinator') ? await coordinatorAnswers() : workerIsConnected()
  console.log(reason)
  process.exitCode = healthy ? 0 : 1
} catch (error) {
  console.log(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
