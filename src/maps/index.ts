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
  ipv4,
  ipv4Prefix,
  ipv6,
  ipv6Prefix,
  type StructCodec,
  type StructOptions,
  safeI64,
  safeU64,
  struct,
  u8,
  u16,
  u32,
  u64,
} from "../bytes/index.ts";
export type { Batch, BatchOptions } from "./batch.ts";
export {
  type BuildIdFrame,
  buildIdStack,
  type CpuInput,
  type CpuTarget,
  cpuTarget,
  type Descriptor,
  type DeviceInput,
  type DeviceTarget,
  deviceTarget,
  handle,
  perCpu,
  socketHandle,
  stackTrace,
  valueCpus,
} from "./codecs.ts";
export { type MapDifference, MapIncompatibleError, mapDifferences } from "./compatible.ts";
export { bindMap, type CreateMapOptions, createMap } from "./create.ts";
export type { MapDescription, MapInfo } from "./description.ts";
export type { Listening, RecordCallback, RecordsOptions } from "./face.ts";
export { flagNames, MapFlag } from "./flags.ts";
export { listMaps } from "./list.ts";
export { BpfMap, type SetManyOptions, type UpdateFlag } from "./map.ts";
export {
  type MapArrayOptions,
  MappedArena,
  MappedArray,
  mapArena,
  mapArray,
  type ViewConstructor,
} from "./mapped.ts";
export { mapFromFd, mapIds, type OpenMapOptions, openMapById, openOrCreatePinnedMap, openPinnedMap } from "./open.ts";
export { openPerfBuffer, PerfBuffer, type PerfBufferOptions, type PerfCallback } from "./perfbuf.ts";
export { checkPinName, checkPinPath, pinObject, unpin } from "./pin.ts";
export { BpfBloomFilter, BpfQueue } from "./queue.ts";
export { type DropCounter, openRingBuffer, RingBuffer, type RingBufferOptions } from "./ringbuf.ts";
export type { DefaultInput, DefaultKey, DefaultValue, MapBtf, MapOf, MapSpec } from "./spec.ts";
export {
  type HandleMapType,
  type IndexedMapType,
  isPerCpu,
  mapTypeSince,
  type PerCpuMapType,
  type SocketMapType,
  type StorageMapType,
} from "./traits.ts";
export { openUserRingBuffer, type UserRecord, UserRingBuffer } from "./user-ringbuf.ts";
