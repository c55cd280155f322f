import { type DeviceTensor, releaseAll } from '@skein/device'

/** Tensors that several owners share, released with the last of them. Made with one owner. */
export class SharedTensors {
  readonly byName: Readonly<Record<string, DeviceTensor>>
  #owners = 1

  constructor(byName: Readonly<Record<string, DeviceTensor>>) {
    this.byName = byName
  }

  retain(): SharedTensors {
    this.#owners++
    return this
  }

  release(): void {
    if (--this.#owners === 0) releaseAll(this.byName)
  }
}
