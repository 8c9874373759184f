// Browser-safe.

export { closest } from "./closest.ts";
export { fromHex, hexDump, toHex } from "./hex.ts";
export { type ParseErrorFactory, Reader, type ReaderOptions } from "./reader.ts";
export { decodeCString, decodeUtf8, encodeUtf8 } from "./text.ts";
export { Writer, type WriterOptions } from "./writer.ts";
