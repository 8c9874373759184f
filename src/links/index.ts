export type { LinkInfo, PerfEventTarget } from "./info.ts";
export { type HasDescriptor, Link, type UpdateLinkOptions } from "./link.ts";
export { describeLink, listLinks, openLinkById, openPinnedLink } from "./open.ts";
export { attachRawTracepoint, attachTracepoint, type TracepointOptions } from "./tracepoint.ts";
