import type { Shape } from '@skein/core'
import { bytesField, concatBytes, floatField, messageField, varintField } from './protobuf.ts'

/** An attribute of a TensorFlow node, for the eager call and for a NodeDef alike. */
export type NodeAttribute =
  | { readonly name: string; readonly kind: 'type'; readonly value: number }
  | { readonly name: string; readonly kind: 'bool'; readonly value: boolean }
  | { readonly name: string; readonly kind: 'int'; readonly value: number }
  | { readonly name: string; readonly kind: 'float'; readonly value: number }
  | { readonly name: string; readonly kind: 'shape'; readonly value: Shape }

export interface ConstantValue {
  readonly dtype: number
  readonly shape: Shape
  readonly data: Float32Array | Int32Array
}

/** Fields of AttrValue (tensorflow/core/framework/attr_value.proto). */
function attributeValue(attribute: NodeAttribute): Uint8Array {
  switch (attribute.kind) {
    case 'int':
      return varintField(3, attribute.value)
    case 'float':
      return floatField(4, attribute.value)
    case 'bool':
      return varintField(5, attribute.value ? 1 : 0)
    case 'type':
      return varintField(6, attribute.value)
    case 'shape':
      return bytesField(7, shapeProto(attribute.value))
  }
}

function shapeProto(shape: Shape): Uint8Array {
  return concatBytes(shape.map(size => messageField(2, varintField(1, size))))
}

function tensorProto({ dtype, shape, data }: ConstantValue): Uint8Array {
  const content = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  return concatBytes([varintField(1, dtype), bytesField(2, shapeProto(shape)), bytesField(4, content)])
}

/** Writes nodes of a TensorFlow graph one after another, then the whole as a SavedModel without variables or signatures. */
export class GraphWriter {
  readonly #nodes: Uint8Array[] = []
  #count = 0

  /** Returns the node's name; its outputs are `name:0`, `name:1`, … */
  node(
    op: string,
    inputs: readonly string[],
    attributes: readonly NodeAttribute[],
    name = `n${this.#count++}`,
  ): string {
    this.#add(
      name,
      op,
      inputs,
      attributes.map(a => [a.name, attributeValue(a)]),
    )
    return name
  }

  constant(value: ConstantValue): string {
    const name = `c${this.#count++}`
    this.#add(
      name,
      'Const',
      [],
      [
        ['dtype', varintField(6, value.dtype)],
        ['value', bytesField(8, tensorProto(value))],
      ],
    )
    return name
  }

  placeholder(name: string, dtype: number, shape: Shape): string {
    return this.node(
      'Placeholder',
      [],
      [
        { name: 'dtype', kind: 'type', value: dtype },
        { name: 'shape', kind: 'shape', value: shape },
      ],
      name,
    )
  }

  /** The bytes of `saved_model.pb`; tag `serve`. */
  savedModel(): Uint8Array {
    // 1087 and 12: a producer that every TensorFlow since 2.9 takes, and the oldest consumer it allows.
    const versions = messageField(4, varintField(1, 1087), varintField(2, 12))
    const graph = concatBytes([...this.#nodes.map(node => bytesField(1, node)), versions])
    const meta = messageField(1, bytesField(4, 'serve'))
    return concatBytes([varintField(1, 1), messageField(2, meta, bytesField(2, graph))])
  }

  #add(
    name: string,
    op: string,
    inputs: readonly string[],
    attributes: readonly (readonly [string, Uint8Array])[],
  ): void {
    this.#nodes.push(
      concatBytes([
        bytesField(1, name),
        bytesField(2, op),
        ...inputs.map(input => bytesField(3, input)),
        ...attributes.map(([key, value]) => messageField(5, bytesField(1, key), bytesField(2, value))),
      ]),
    )
  }
}
