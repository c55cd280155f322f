/** The child's side of the launcher's pipe (`--exit-with-parent`): its lines, and its end when the launcher is gone. */
export interface ParentPipe {
  /** The first line, or undefined when the pipe ended before one came. */
  readonly firstLine: Promise<string | undefined>
  /** Resolves when the launcher closed the pipe or disappeared. Does not keep the process alive. */
  readonly gone: Promise<void>
}

/** Reads stdin from now on. Call it once. */
export function watchParent(stdin: NodeJS.ReadStream = process.stdin): ParentPipe {
  const first = Promise.withResolvers<string | undefined>()
  const gone = Promise.withResolvers<void>()
  let text = ''
  const end = () => {
    first.resolve(undefined)
    gone.resolve()
  }
  stdin.setEncoding('utf8')
  stdin.on('data', (chunk: string) => {
    text += chunk
    const newline = text.indexOf('\n')
    if (newline >= 0) first.resolve(text.slice(0, newline))
  })
  stdin.once('end', end)
  stdin.once('close', end)
  stdin.once('error', end)
  return { firstLine: first.promise, gone: gone.promise }
}
