/** The float32 numbers that the AdamW kernel takes, in the order of its parameters. */
export type AdamwScalars = readonly [
  gradScale: number,
  beta1: number,
  oneMinusBeta1: number,
  beta2: number,
  oneMinusBeta2: number,
  decay: number,
  stepSize: number,
  rsqrtBias2: number,
  eps: number,
]

export interface AdamwOptions {
  readonly lr: number
  readonly beta1: number
  readonly beta2: number
  readonly eps: number
  readonly weightDecay: number
  readonly gradScale: number
  readonly step: number
}

/** Computed in float64 once a call and rounded to float32 once, as PyTorch's scalars are. */
export function adamwScalars(options: AdamwOptions): AdamwScalars {
  const { lr, beta1, beta2, eps, weightDecay, gradScale, step } = options
  return [
    Math.fround(gradScale),
    Math.fround(beta1),
    Math.fround(1 - beta1),
    Math.fround(beta2),
    Math.fround(1 - beta2),
    Math.fround(1 - lr * weightDecay),
    Math.fround(lr / (1 - integerPower(beta1, step))),
    Math.fround(1 / Math.sqrt(1 - integerPower(beta2, step))),
    Math.fround(eps),
  ]
}

/** base^exponent by squaring: only IEEE multiplications, where `**` may differ between engines in its last bit. */
function integerPower(base: number, exponent: number): number {
  let result = 1
  let square = base
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result *= square
    square *= square
  }
  return result
}
