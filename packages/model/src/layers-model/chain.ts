import { SkeinError } from '@skein/core'
import type { Tfjs } from '@skein/device'
import { ModelErrors } from '../errors.ts'
import type { TfLayer } from './weights.ts'

type TfModel = InstanceType<Tfjs['LayersModel']>

const isInput = (layer: TfLayer) => layer.getClassName() === 'InputLayer'

/**
 * The layers of a model, first to last, where each takes what the one before it gives: what can be run layer by layer. Input layers are left out.
 * @throws SKEIN_MODEL_CUT with the layer at which the model branches, or that makes a mask
 */
export function chainOf(tf: Tfjs, model: TfModel): TfLayer[] {
  const chain = model instanceof tf.Sequential ? layersInTurn(model) : layersBehindInput(model)
  // Nobody reads what the last one makes.
  const masking = chain.slice(0, -1).find(layer => makesMask(tf, layer))
  if (masking !== undefined) throw noMasks(model, masking)
  return chain
}

function layersInTurn(model: TfModel): TfLayer[] {
  const layers = model.layers.filter(layer => !isInput(layer))
  const twice = layers.find((layer, i) => layers.indexOf(layer) !== i)
  if (twice !== undefined) throw noChain(model, twice.name, 'is in it twice')
  return layers
}

function layersBehindInput(model: TfModel): TfLayer[] {
  const [output] = model.outputLayers
  if (output === undefined || model.outputs.length !== 1) {
    throw noChain(model, model.outputLayers.map(({ name }) => name).join(', '), 'are several outputs')
  }
  const chain: TfLayer[] = []
  for (let layer: TfLayer | undefined = output; layer !== undefined && !isInput(layer); layer = before(model, layer)) {
    chain.unshift(layer)
  }
  return chain
}

/** Whether a layer that is given no mask makes one (Masking, an Embedding with maskZero): asked as tfjs does, with zeros for an input. */
function makesMask(tf: Tfjs, layer: TfLayer): boolean {
  if (!layer.supportsMasking || layer.computeMask === tf.layers.Layer.prototype.computeMask) return false
  const input = layer.getInputAt(0) as { readonly shape: readonly (number | null)[] }
  const shape = input.shape.map(dim => dim ?? 1)
  return tf.tidy(() => {
    const masks: unknown = layer.computeMask([tf.zeros(shape)], [null as never])
    return [masks].flat().some(mask => mask instanceof tf.Tensor)
  })
}

function before(model: TfModel, layer: TfLayer): TfLayer | undefined {
  // A model that is a layer has a node of its own inputs, too.
  const [node, ...others] = layer.inboundNodes.filter(({ inboundLayers }) => inboundLayers.length > 0)
  if (others.length > 0) throw noChain(model, layer.name, 'is used in several places')
  const sources = node?.inboundLayers ?? []
  if (sources.length > 1) {
    throw noChain(
      model,
      layer.name,
      `takes the outputs of several layers: ${sources.map(({ name }) => name).join(', ')}`,
    )
  }
  return sources[0]
}

function noChain(model: TfModel, layer: string, does: string): SkeinError {
  return new SkeinError(ModelErrors.CUT, {
    what: `the model ${model.name} cannot be cut into stages: ${layer} ${does}`,
    why: 'a stage takes the output of the stage before it and nothing else, so the layers must form a chain',
    todo: 'train it with mesh.pp 1, or put the branching part into one layer (a tf.Sequential or tf.LayersModel as a layer)',
    details: { model: model.name, layer },
  })
}

function noMasks(model: TfModel, layer: TfLayer): SkeinError {
  return new SkeinError(ModelErrors.CUT, {
    what: `the model ${model.name} cannot be run layer by layer: ${layer.name} (${layer.getClassName()}) makes a mask`,
    why: 'tfjs hands a mask on only within a model, so the layers behind it would not see it, and would be trained to something else',
    todo: 'train it with mesh.pp 1, or put this layer and all that read its mask into one layer (a tf.Sequential or tf.LayersModel as a layer)',
    details: { model: model.name, layer: layer.name },
  })
}
