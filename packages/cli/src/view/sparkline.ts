const levels = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█']

/**
 * `values` as one line of at most `width` block characters, oldest first. More values than places are averaged in
 * equal runs, so that the whole history stays in view. The lowest value is the lowest block.
 */
export function sparkline(values: readonly number[], width: number): string {
  if (width <= 0 || values.length === 0) return ''
  const places = squeeze(values, width)
  const low = Math.min(...places)
  const span = Math.max(...places) - low
  return places.map(value => levels[span === 0 ? 0 : Math.round(((value - low) / span) * 7)] ?? '▁').join('')
}

/** At most `width` numbers: the means of equal runs of `values`. */
export function squeeze(values: readonly number[], width: number): number[] {
  if (values.length <= width) return [...values]
  const means: number[] = []
  for (let i = 0; i < width; i++) {
    const from = Math.floor((i * values.length) / width)
    const to = Math.max(from + 1, Math.floor(((i + 1) * values.length) / width))
    let sum = 0
    for (let j = from; j < to; j++) sum += values[j] ?? 0
    means.push(sum / (to - from))
  }
  return means
}

/** A bar of `width` characters of which `fraction` (0 … 1) is filled, in steps of an eighth of a character. */
export function progressBar(fraction: number, width: number): string {
  if (width <= 0) return ''
  const eighths = Math.round(Math.min(1, Math.max(0, fraction)) * width * 8)
  const full = Math.floor(eighths / 8)
  const part = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8] ?? ''
  return ('█'.repeat(full) + part).padEnd(width, '░')
}
