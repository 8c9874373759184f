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
} from "../bytes/index.ts";
export { createMap, type MapSpec } from "./create.ts";
export { BpfMap, type MapDescription, type UpdateFlag } from "./map.ts";
export { openRingBuffer, type RecordCallback, type RecordsOptions, RingBuffer } from "./ringbuf.ts";
