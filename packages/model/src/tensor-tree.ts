import type { KernelTensor } from '@skein/device'

/** Tensors in nested plain objects, as layers return what they save. */
export interface TensorTree<T> {
  readonly [name: string]: T | TensorTree<T>
}

const isTensor = <T extends KernelTensor>(node: T | TensorTree<T>): node is T => Array.isArray((node as T).shape)

/** `{norm: {xhat}}` under "h0" as `{"h0/norm/xhat"}`: passes take and return tensors by one flat name. */
export function flattenTree<T extends KernelTensor>(prefix: string, tree: object): Record<string, T> {
  const flat: Record<string, T> = {}
  for (const [name, node] of Object.entries(tree as TensorTree<T>)) {
    if (isTensor(node)) flat[`${prefix}/${name}`] = node
    else Object.assign(flat, flattenTree<T>(`${prefix}/${name}`, node))
  }
  return flat
}

/** The inverse of `flattenTree` for one prefix; names of other prefixes are left out. */
export function unflattenTree<Tree>(prefix: string, flat: Readonly<Record<string, unknown>>): Tree {
  const root: Record<string, unknown> = {}
  for (const [name, tensor] of Object.entries(flat)) {
    if (!name.startsWith(`${prefix}/`)) continue
    const path = name.slice(prefix.length + 1).split('/')
    const leaf = path.pop() as string
    let node = root
    for (const part of path) node = (node[part] ??= {}) as Record<string, unknown>
    node[leaf] = tensor
  }
  return root as Tree
}
