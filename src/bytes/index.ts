// Browser-safe.

export { closest } from "./closest.ts";
export {
  array,
  bytes,
  type Codec,
  cstring,
  type Decoded,
  type Encodable,
  i8,
  i16,
  i32,
  i64,
  makeCodec,
  safeI64,
  safeU64,
  u8,
  u16,
  u32,
  u64,
} from "./codec.ts";
export {
  compileWordReader,
  hasFixedBuffer,
  mayCompile,
  type ReadAt,
  readS64,
  readU64,
  type WordArrays,
  type WordReader,
  WordScope,
} from "./generate.ts";
export { fromHex, hexDump, toHex } from "./hex.ts";
export { formatIpv4, formatIpv6, ipv4, ipv4Prefix, ipv6, ipv6Prefix, parseIpv4, parseIpv6 } from "./ip.ts";
export { type ParseErrorFactory, Reader, type ReaderOptions } from "./reader.ts";
export { type StructCodec, type StructOptions, struct } from "./struct.ts";
export { decodeCString, decodeUtf8, encodeUtf8 } from "./text.ts";
export { Writer, type WriterOptions } from "./writer.ts";
