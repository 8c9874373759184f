export { Link } from "./link.ts";
export { attachRawTracepoint, attachTracepoint, type TracepointOptions } from "./tracepoint.ts";
