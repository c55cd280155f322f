// HEALTHCHECK of the image, for whichever command the container runs. Healthy means: a coordinator answers on its port;
// a worker has a connection that stands. Exit status 0 or 1, one line of reason.
import { once } from 'node:events'
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'

const args = fs.readFileSync('/proc/1/cmdline', 'utf8').split('\0')
const ESTABLISHED = '01'

/** Value of `--name value` or `--name=value`. */
function option(name) {
  const joined = args.find(arg => arg.startsWith(`${name}=`))
  return joined === undefined ? args[args.indexOf(name) + 1] : joined.slice(name.length + 1)
}

async function coordinatorAnswers() {
  const hasTls = args.some(arg => /^--tls(-cert)?(=|$)/.test(arg)) || Boolean(process.env.SKEIN_TLS)
  // It asks itself, on loopback: whose certificate that is does not matter.
  const options = { host: '127.0.0.1', port: option('--port'), path: '/healthz', rejectUnauthorized: false }
  const request = (hasTls ? https : http).get({ ...options, signal: AbortSignal.timeout(3000) })
  const [response] = await once(request, 'response')
  response.resume()
  return { healthy: response.statusCode === 200, reason: `/healthz answered ${response.statusCode}` }
}

function workerIsConnected() {
  const rows = ['/proc/net/tcp', '/proc/net/tcp6']
    .filter(file => fs.existsSync(file))
    .flatMap(file => fs.readFileSync(file, 'utf8').trim().split('\n').slice(1))
  const standing = rows.filter(row => row.trim().split(/\s+/)[3] === ESTABLISHED).length
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
