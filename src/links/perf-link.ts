import type { Program } from "../programs/index.ts";
import { bpfError } from "../syscall/bpf.ts";
import { errnoName } from "../syscall/errno.ts";
import { Fd } from "../syscall/fd.ts";
import { perfIoctl } from "../syscall/perf.ts";
import { tryCreateLink } from "./create.ts";
import { Link, type LinkParts } from "./link.ts";

/** What runs a program: an open perf event, and what must be given back after it. */
export interface PerfTarget {
  /** The event. It belongs to the link from now on, also when attaching fails. */
  readonly event: Fd;
  /** What is attached where, for people. */
  readonly target: string;
  /** Value for `get_attach_cookie`. */
  readonly cookie?: bigint | undefined;
  /** Closed after the event: a probe of tracefs. */
  readonly others?: readonly { close(): void }[] | undefined;
}

/**
 * Attaches a program to an open perf event: by a `bpf_link`, before Linux 5.15 by an `ioctl`.
 *
 * @param program open program
 * @param options event, cookie
 * @throws SyscallError; the event, and what comes after it, are closed then
 */
export function attachToPerfEvent(program: Program, options: PerfTarget): Link {
  const { event, target, others = [] } = options;
  try {
    return new Link(target, perfLinkParts(program, options));
  } catch (error) {
    event.close();
    for (const other of others) other.close();
    throw error;
  }
}

/** As {@link attachToPerfEvent}, but leaves the event open when it fails. */
export function perfLinkParts(program: Program, options: PerfTarget): LinkParts {
  const { event, target, cookie, others = [] } = options;
  const values = {
    target_fd: event.number,
    ...(cookie === undefined || cookie === 0n ? {} : { "perf_event.bpf_cookie": cookie }),
  };
  const result = tryCreateLink(program, values, "perf_event");
  const link = result >= 0 ? new Fd(program.owner.backend, result, target) : undefined;
  if (link === undefined) {
    const action = `Cannot attach ${program.owner.label} to ${target}`;
    // EINVAL: before 5.15 there is no link of this kind.
    if (errnoName(result) !== "EINVAL") throw bpfError("BPF_LINK_CREATE", result, { action });
    if (cookie !== undefined && cookie !== 0n) {
      throw bpfError("BPF_LINK_CREATE", result, { action, hint: "cookies need Linux 5.15 or newer" });
    }
    perfIoctl(event, "SET_BPF", program.fd);
  }
  try {
    perfIoctl(event, "ENABLE");
  } catch (error) {
    link?.close();
    throw error;
  }
  return link === undefined
    ? { type: undefined, fd: event, others }
    : { type: "perf_event", fd: link, others: [event, ...others] };
}
