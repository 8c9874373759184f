import { perfEventAttr } from "../kernel-abi/index.ts";
import { type AttrValues, encodeAttr } from "./attr.ts";
import type { SyscallBackend } from "./backend.ts";
import { call, keepAlive } from "./call.ts";
import { SyscallError } from "./errors.ts";
import { Fd } from "./fd.ts";
import { permissionHint } from "./hints.ts";

const PERF_FLAG_FD_CLOEXEC = 8;

/** Numbers of the perf event `ioctl`s: `_IO('$', n)` and its kin, alike on x86-64 and arm64. */
export const PerfIoctl = {
  ENABLE: 0x2400,
  DISABLE: 0x2401,
  RESET: 0x2403,
  PERIOD: 0x40082404,
  SET_OUTPUT: 0x2405,
  SET_FILTER: 0x40082406,
  ID: 0x80082407,
  SET_BPF: 0x40042408,
  PAUSE_OUTPUT: 0x40042409,
  QUERY_BPF: 0xc008240a,
} as const;

/** What to watch, and where. */
export interface PerfEventOptions {
  /** Fields of `perf_event_attr`; `size` is filled in. */
  readonly attr: AttrValues<typeof perfEventAttr>;
  /** Process to watch; -1 for all. Default -1. */
  readonly pid?: number;
  /** CPU to watch; -1 for all (then `pid` must name one). Default -1. */
  readonly cpu?: number;
  /** What it is, for messages. */
  readonly label?: string;
}

/**
 * Opens a perf event, close-on-exec.
 *
 * @param backend shim
 * @param options what to watch
 * @throws SyscallError `EACCES` without CAP_PERFMON, `EINVAL` for a CPU that does not exist, `ENODEV` for one offline
 */
export function perfEventOpen(backend: SyscallBackend, options: PerfEventOptions): Fd {
  const { pid = -1, cpu = -1, label = "perf event" } = options;
  const attr = encodeAttr(backend, perfEventAttr, { ...options.attr, size: perfEventAttr.size });
  const args = [attr.address, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC];
  const fd = call(backend, "perf_event_open", args, () => ({
    attr: attr.values,
    pid,
    cpu,
    group_fd: -1,
    flags: "PERF_FLAG_FD_CLOEXEC",
  }));
  keepAlive(attr);
  if (fd < 0) {
    const hint = permissionHint("perf_event_open", fd);
    throw new SyscallError(`Cannot open ${label}`, "perf_event_open", fd, { hint });
  }
  return new Fd(backend, fd, label);
}

/**
 * Issues one of the perf event `ioctl`s that take a number.
 *
 * @param event open perf event
 * @param request which
 * @param argument its number; 0 where it takes none
 * @throws SyscallError
 */
export function perfIoctl(event: Fd, request: keyof typeof PerfIoctl, argument = 0): void {
  const args = [event.number, PerfIoctl[request], argument];
  const result = call(event.backend, "ioctl", args, () => ({
    fd: event.number,
    request: `PERF_EVENT_IOC_${request}`,
    arg: argument,
  }));
  if (result < 0) throw new SyscallError(`Cannot ${IOCTL_ACTIONS[request]} ${event.label}`, "ioctl", result);
}

const IOCTL_ACTIONS: { readonly [R in keyof typeof PerfIoctl]: string } = {
  ENABLE: "enable",
  DISABLE: "disable",
  RESET: "reset",
  PERIOD: "set the period of",
  SET_OUTPUT: "redirect",
  SET_FILTER: "filter",
  ID: "identify",
  SET_BPF: "attach a program to",
  PAUSE_OUTPUT: "pause",
  QUERY_BPF: "query",
};
