import { stripVTControlCharacters, styleText } from 'node:util'

type Style = 'bold' | 'dim' | 'red' | 'green' | 'cyan' | 'yellow'

// An escape sequence that sets a style, as paint() writes it.
const styles = new RegExp(`(${'\u001b'}\\[[0-9;]*m)`, 'u')

/** Text with an ANSI style, always; the terminal's owner strips it where colours are not wanted. */
export function paint(style: Style, text: string): string {
  return styleText(style, text, { validateStream: false })
}

/** Places that `text` takes on a terminal, without its styles. */
export function visibleWidth(text: string): number {
  let width = 0
  for (const character of stripVTControlCharacters(text)) width += widthOf(character)
  return width
}

/** `text` cut to at most `columns` places with its styles closed; a cut is marked by "…". */
export function fit(text: string, columns: number): string {
  if (columns <= 0) return ''
  if (visibleWidth(text) <= columns) return text
  let shown = 0
  let result = ''
  for (const part of text.split(styles)) {
    if (part.startsWith('\u001b[')) {
      result += part
      continue
    }
    for (const character of part) {
      shown += widthOf(character)
      if (shown > columns - 1) return `${result}…\u001b[0m`
      result += character
    }
  }
  return result
}

/** Text from outside as one line without control characters: names, reasons and samples must not steer the terminal. */
export function oneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ')
}

/** The same for several lines; other control characters are shown as dots. */
export function printableLines(text: string): string[] {
  return text.split('\n').map(line => line.replaceAll('\t', '  ').replaceAll(/\p{Cc}/gu, '·'))
}

const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u

/** Places of one code point: none for a mark on the former one, two for East Asian and emoji. */
function widthOf(character: string): number {
  if (character < '\u0300') return 1
  if (/^\p{M}/u.test(character)) return 0
  return wide.test(character) ? 2 : 1
}
