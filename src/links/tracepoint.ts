import { NotSupportedError } from "../errors.ts";
import type { Program } from "../programs/index.ts";
import { rawTracepointOpen } from "../syscall/commands.ts";
import { kernelOlderThan, onlineCpus } from "../syscall/host.ts";
import { perfEventOpen } from "../syscall/perf.ts";
import { openTracefs, readTracepointFormat, type Tracefs } from "../syscall/tracefs.ts";
import { requireType } from "./create.ts";
import { Link } from "./link.ts";
import { attachToPerfEvent } from "./perf-link.ts";

const PERF_TYPE_TRACEPOINT = 2;

/** How to attach to a tracepoint. */
export interface TracepointOptions {
  /** Value the program reads with `get_attach_cookie` (Linux 5.15). */
  readonly cookie?: bigint | undefined;
  /** Where the tracepoint's id is read; default: where tracefs is mounted, or a private instance. */
  readonly tracefs?: Tracefs | undefined;
}

/**
 * Attaches a program of type `tracepoint`: a perf event of the tracepoint's id, and a `bpf_link` over it (before
 * Linux 5.15 an `ioctl` on it).
 *
 * @param program open program
 * @param group group, for example `sched`
 * @param name tracepoint, for example `sched_process_exec`
 * @param options cookie
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_TRACEFS` for an unknown tracepoint, `ERR_TYPE_MISMATCH`; SyscallError
 */
export function attachTracepoint(program: Program, group: string, name: string, options: TracepointOptions = {}): Link {
  requireType(program, `tracepoint ${group}:${name}`, "tracepoint");
  const backend = program.owner.backend;
  const tracefs = options.tracefs ?? openTracefs(backend);
  let id: number;
  try {
    id = readTracepointFormat(tracefs, group, name).id;
  } finally {
    if (options.tracefs === undefined) tracefs.close();
  }
  const target = `tracepoint ${group}:${name}`;
  // Tracepoint programs run for every CPU and process, whatever this event is opened for.
  const event = perfEventOpen(backend, {
    attr: { type: PERF_TYPE_TRACEPOINT, config: id, sample_period: 1, wakeup_events: 1 },
    cpu: onlineCpus()[0] ?? 0,
    label: target,
  });
  return attachToPerfEvent(program, { event, target, cookie: options.cookie });
}

/** How to attach to a raw tracepoint. */
export interface RawTracepointOptions {
  /** Value the program reads with `get_attach_cookie` (Linux 6.10). */
  readonly cookie?: bigint | undefined;
}

/**
 * Attaches a program of type `raw_tracepoint` or `raw_tracepoint_writable`. Programs of type `tracing` made for a
 * tracepoint (`tp_btf`) take `attachTracing`: their target is fixed when they are loaded.
 *
 * @param program open program
 * @param name tracepoint without its group, for example `sched_process_exec`
 * @param options cookie
 * @returns the attachment: close it to detach
 * @throws SyscallError `ENOENT` for an unknown tracepoint; BpfError `ERR_TYPE_MISMATCH`
 */
export function attachRawTracepoint(program: Program, name: string, options: RawTracepointOptions = {}): Link {
  requireType(program, `raw tracepoint ${name}`, "raw_tracepoint", "raw_tracepoint_writable");
  const { cookie = 0n } = options;
  if (cookie !== 0n && kernelOlderThan(6, 10)) {
    throw new NotSupportedError("A cookie for a raw tracepoint", { minimumKernel: "6.10" });
  }
  const fd = rawTracepointOpen(program.owner, name, cookie);
  return new Link(`raw tracepoint ${name}`, { type: "raw_tracepoint", fd });
}
