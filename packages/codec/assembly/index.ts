export { decodeAddInt4, decodeInt4, encodeInt4 } from './int4'
export { decodeAddInt8, decodeInt8, encodeInt8 } from './int8'
export {
  maxBFloat16,
  maxFloat16,
  maxFloat32,
  maxInt32,
  minBFloat16,
  minFloat16,
  minFloat32,
  minInt32,
  sumBFloat16,
  sumFloat16,
  sumFloat32,
  sumInt32,
} from './reduce'
export { scaleBFloat16, scaleFloat16, scaleFloat32 } from './scale'
export { decodeAddBf16, decodeAddFp16, decodeBf16, decodeFp16, encodeBf16, encodeFp16 } from './sixteen'
