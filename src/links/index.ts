export { attachCgroup, CGROUP_ATTACH_TYPES, type CgroupOptions } from "./cgroup.ts";
export type { LinkInfo, PerfEventTarget } from "./info.ts";
export {
  attachIterator,
  type IteratorOptions,
  iterate,
  iterateRecords,
  type RecordDecoder,
  readIterator,
  readIteratorText,
} from "./iterator.ts";
export {
  attachKprobe,
  attachSyscall,
  type KprobeOptions,
  syscallFunction,
} from "./kprobe.ts";
export { attachKprobeMulti, type KprobeMultiOptions } from "./kprobe-multi.ts";
export { type HasDescriptor, Link, type UpdateLinkOptions } from "./link.ts";
export { attachLirc } from "./lirc.ts";
export { attachLwt, type LwtRoute } from "./lwt.ts";
export { attachNetfilter, type NetfilterFamily, type NetfilterHook, type NetfilterTarget } from "./netfilter.ts";
export { attachNetns, type NetnsOptions } from "./netns.ts";
export { describeLink, listLinks, openLinkById, openPinnedLink } from "./open.ts";
export type { Neighbour, Order, OrderOptions } from "./order.ts";
export {
  attachPerfEvent,
  type HardwareEvent,
  type PerfEventAttachOptions,
  type PerfEventSource,
  type SoftwareEvent,
} from "./perf-event.ts";
export { listPins, type Pin } from "./pins.ts";
export {
  type Attached,
  type AttachedProgram,
  type AttachTarget,
  type QueryOptions,
  queryAttached,
} from "./query.ts";
export { attachReuseport, attachSocketFilter, type SocketLike, socketDescriptor } from "./socket.ts";
export { attachSockmap, type HasMapOwner, type SockmapOptions } from "./sockmap.ts";
export { attachStructOps, type StructOpsMap, type StructOpsOptions, writeStructOps } from "./struct-ops.ts";
export type { NetworkNamespace } from "./targets.ts";
export {
  attachTc,
  listTcFilters,
  type TcDirection,
  type TcFilter,
  type TcFilterPlace,
  TcLink,
  type TcOptions,
} from "./tc.ts";
export { attachNetkit, attachTcx, type NetkitOptions, type TcxOptions } from "./tcx.ts";
export {
  attachRawTracepoint,
  attachTracepoint,
  type RawTracepointOptions,
  type TracepointOptions,
} from "./tracepoint.ts";
export {
  attachFreplace,
  attachTracing,
  attachTracingMulti,
  type FreplaceOptions,
  type TracingMultiOptions,
  type TracingOptions,
} from "./tracing.ts";
export { attachUprobe, type UprobeOptions } from "./uprobe.ts";
export { attachUprobeMulti, type UprobeMultiOptions } from "./uprobe-multi.ts";
export type { UprobePlace } from "./uprobe-place.ts";
export { attachUsdt, type UsdtMap, type UsdtOptions, UsdtSpecs } from "./usdt.ts";
export { attachXdp, type XdpOptions } from "./xdp.ts";
