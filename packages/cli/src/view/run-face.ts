import type { RunEvent } from '../run-event.ts'
import { liveLines } from './live-lines.ts'
import { plainLine } from './plain-line.ts'
import { advance, type RunPhase, type RunView, startOfRun, withNote } from './run-view.ts'
import { Screen, type TerminalStream } from './screen.ts'

export type FaceKind = 'live' | 'plain' | 'json'

/** How a run is shown: fed with its events, closed once. */
export interface RunFace {
  readonly view: RunView
  onEvent(event: RunEvent): void
  /** What the launcher itself has to say. */
  onNote(note: string, phase?: RunPhase): void
  /** Gives the terminal back; idempotent. */
  close(): void
}

export interface FaceOptions {
  readonly kind: FaceKind
  readonly jobName: string
  readonly out: TerminalStream
  readonly colours: boolean
}

/** Redraws at least this often, so that a lost frame or a clock heals. */
const redrawMs = 1000

/** The kind for this terminal and these flags: --json, else --plain or a pipe, else live. */
export function faceKind(options: { readonly json: boolean; readonly plain: boolean }, isTerminal: boolean): FaceKind {
  if (options.json) return 'json'
  return options.plain || !isTerminal ? 'plain' : 'live'
}

export function openFace(options: FaceOptions): RunFace {
  const { kind, out } = options
  let view = startOfRun(options.jobName)
  if (kind !== 'live') {
    return {
      get view() {
        return view
      },
      onEvent(event) {
        view = advance(view, event)
        const line = kind === 'json' ? JSON.stringify(event) : plainLine(view, event)
        if (line !== undefined) out.write(`${line}\n`)
      },
      onNote(note, phase) {
        view = withNote(view, note, phase)
        out.write(`${kind === 'json' ? JSON.stringify({ event: 'note', note }) : note}\n`)
      },
      close() {},
    }
  }
  const screen = new Screen(out, columns => liveLines(view, columns), options.colours)
  const timer = setInterval(() => screen.draw(), redrawMs)
  screen.draw()
  return {
    get view() {
      return view
    },
    onEvent(event) {
      view = advance(view, event)
      screen.draw()
    },
    onNote(note, phase) {
      view = withNote(view, note, phase)
      screen.draw()
    },
    close() {
      clearInterval(timer)
      screen.draw()
      screen.close()
    },
  }
}
