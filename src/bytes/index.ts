// Browser-safe.

export { closest } from "./closest.ts";
export {
  array,
  bytes,
  type Codec,
  cstring,
  type Decoded,
  i8,
  i16,
  i32,
  i64,
  type StructCodec,
  struct,
  u8,
  u16,
  u32,
  u64,
} from "./codec.ts";
export { fromHex, hexDump, toHex } from "./hex.ts";
export { type ParseErrorFactory, Reader, type ReaderOptions } from "./reader.ts";
export { decodeCString, decodeUtf8, encodeUtf8 } from "./text.ts";
export { Writer, type WriterOptions } from "./writer.ts";
