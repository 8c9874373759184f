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
export { describeLink, listLinks, openLinkById, openPinnedLink } from "./open.ts";
export {
  attachPerfEvent,
  type HardwareEvent,
  type PerfEventAttachOptions,
  type PerfEventSource,
  type SoftwareEvent,
} from "./perf-event.ts";
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
