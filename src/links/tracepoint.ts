import { AttachType, linkCreateAttr } from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { rawTracepointOpen } from "../syscall/commands.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { onlineCpus } from "../syscall/host.ts";
import { perfEventOpen, perfIoctl } from "../syscall/perf.ts";
import { openTracefs, readTracepointFormat, type Tracefs } from "../syscall/tracefs.ts";
import { requireType } from "./create.ts";
import { Link } from "./link.ts";

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
  try {
    return attachPerfEvent(program, event, target, options.cookie);
  } catch (error) {
    event.close();
    throw error;
  }
}

function attachPerfEvent(program: Program, event: Fd, target: string, cookie: bigint | undefined): Link {
  const action = `Cannot attach ${program.owner.label} to ${target}`;
  const { result } = rawBpf(
    program.owner.backend,
    "BPF_LINK_CREATE",
    linkCreateAttr,
    {
      prog_fd: program.fd,
      target_fd: event.number,
      attach_type: AttachType.perf_event,
      "perf_event.bpf_cookie": cookie ?? 0n,
    },
    { attach_type: "perf_event" },
  );
  if (result >= 0) return finish(new Fd(program.owner.backend, result, target), event, target);
  // EINVAL: before 5.15 there is no link of this kind.
  if (errnoName(result) !== "EINVAL") throw bpfError("BPF_LINK_CREATE", result, { action });
  if (cookie !== undefined) {
    throw bpfError("BPF_LINK_CREATE", result, { action, hint: "cookies need Linux 5.15 or newer" });
  }
  perfIoctl(event, "SET_BPF", program.fd);
  return finish(undefined, event, target);
}

function finish(link: Fd | undefined, event: Fd, target: string): Link {
  try {
    perfIoctl(event, "ENABLE");
  } catch (error) {
    link?.close();
    throw error;
  }
  return link === undefined
    ? new Link(target, { type: undefined, fd: event })
    : new Link(target, { type: "perf_event", fd: link, others: [event] });
}

/**
 * Attaches a program of type `raw_tracepoint`, `raw_tracepoint_writable`, or a `tracing` program made for a tracepoint.
 *
 * @param program open program
 * @param name tracepoint without its group, for example `sched_process_exec`
 * @returns the attachment: close it to detach
 * @throws SyscallError `ENOENT` for an unknown tracepoint; BpfError `ERR_TYPE_MISMATCH`
 */
export function attachRawTracepoint(program: Program, name: string): Link {
  requireType(program, `raw tracepoint ${name}`, "raw_tracepoint", "raw_tracepoint_writable", "tracing");
  return new Link(`raw tracepoint ${name}`, { type: "raw_tracepoint", fd: rawTracepointOpen(program.owner, name) });
}
