// Set-up progress on stderr: what, how much, how long. In a terminal one live line per task; in a pipe plain lines.

const PLAIN_EVERY_MS = 2000
const REDRAW_EVERY_MS = 100

/** `sink` is a writable stream such as process.stderr, or a stand-in with `write`, `isTTY` and `columns`. */
export function createBoard(sink) {
  return sink.isTTY === true ? new TerminalBoard(sink) : new PlainBoard(sink)
}

const seconds = ms => `${(ms / 1000).toFixed(1)} s`

/** One thing that is being done. `detail` says how far it is; exactly one of `done` and `failed` ends it. */
class Task {
  constructor(board, title) {
    this.board = board
    this.title = title
    this.since = performance.now()
    this.text = ''
    this.ended = false
  }
  detail(text) {
    this.text = text.trim()
    this.board.changed(this)
  }
  done(text = '') {
    this.end(`done in ${seconds(performance.now() - this.since)}${text === '' ? '' : ` (${text})`}`)
  }
  failed(text) {
    this.end(`failed after ${seconds(performance.now() - this.since)}: ${text}`)
  }
  end(outcome) {
    if (this.ended) return
    this.ended = true
    this.board.ended(this, `skein: ${this.title}: ${outcome}`)
  }
}

class PlainBoard {
  constructor(sink) {
    this.sink = sink
    this.shown = new Map()
  }
  start(title) {
    const task = new Task(this, title)
    this.shown.set(task, performance.now())
    this.sink.write(`skein: ${title} …\n`)
    return task
  }
  changed(task) {
    const now = performance.now()
    if (now - this.shown.get(task) < PLAIN_EVERY_MS) return
    this.shown.set(task, now)
    this.sink.write(`skein: ${task.title}: ${seconds(now - task.since)}, ${task.text}\n`)
  }
  ended(task, line) {
    this.shown.delete(task)
    this.sink.write(`${line}\n`)
  }
  note(text) {
    this.sink.write(`${text}\n`)
  }
  close() {}
}

class TerminalBoard {
  constructor(sink) {
    this.sink = sink
    this.tasks = []
    this.drawn = 0
    this.timer = undefined
  }
  start(title) {
    const task = new Task(this, title)
    this.tasks.push(task)
    this.timer ??= setInterval(() => this.draw(), REDRAW_EVERY_MS)
    this.draw()
    return task
  }
  changed() {}
  ended(task, line) {
    this.tasks = this.tasks.filter(one => one !== task)
    this.note(line)
    if (this.tasks.length === 0) this.close()
  }
  note(text) {
    this.clear()
    this.sink.write(`${text}\n`)
    this.draw()
  }
  clear() {
    if (this.drawn > 0) this.sink.write(`\x1b[${this.drawn}A\r\x1b[J`)
    this.drawn = 0
  }
  draw() {
    this.clear()
    const width = (this.sink.columns || 80) - 1
    for (const task of this.tasks) {
      const line = `  ${task.title}  ${seconds(performance.now() - task.since)}  ${task.text}`
      this.sink.write(`${line.slice(0, width)}\n`)
      this.drawn++
    }
  }
  close() {
    clearInterval(this.timer)
    this.timer = undefined
    this.clear()
  }
}
