import { createRequire } from 'node:module'
import type { DeviceChoice } from '@skein/device'

const require = createRequire(import.meta.url)

/** Versions that go into a checkpoint's manifest. */
export function createdBy(choice: DeviceChoice): Record<string, string> {
  const { version } = require('../package.json') as { version: string }
  return { skein: version, node: process.versions.node, [choice.kind]: choice.version }
}
