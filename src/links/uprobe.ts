import { BpfError, NotSupportedError } from "../errors.ts";
import type { Program } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { isErrno } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { onlineCpus } from "../syscall/host.ts";
import { perfEventOpen } from "../syscall/perf.ts";
import type { Tracefs } from "../syscall/tracefs.ts";
import { requireType } from "./create.ts";
import type { Link } from "./link.ts";
import { attachToPerfEvent } from "./perf-link.ts";
import { EVENT_SOURCES, makeTracefsProbe, probeUnit } from "./probe-events.ts";
import { type UprobePlace, UprobePlaces } from "./uprobe-place.ts";

/** How to attach to a place in a program or library. */
export interface UprobeOptions {
  /** At the return of the function. Default at its entry. */
  readonly return?: boolean | undefined;
  /** Only this process; default: all that run the file, those to come too. */
  readonly pid?: number | undefined;
  /** Value the program reads with `get_attach_cookie` (Linux 5.15). */
  readonly cookie?: bigint | undefined;
  /** Offset in the file of a counter that the kernel raises while the probe is there (4.20): semaphores of USDT. */
  readonly referenceCounterOffset?: number | undefined;
  /** `perf` for the unit of the kernel (4.17), `tracefs` for `uprobe_events`. Default: the unit, else tracefs. */
  readonly mode?: "perf" | "tracefs" | undefined;
  /** @internal Folder that describes units of perf events. */
  readonly eventSources?: string | undefined;
  /** Where tracefs is. Default: where it is mounted, or a private instance. */
  readonly tracefs?: Tracefs | undefined;
}

const COUNTER_SHIFT = 2 ** 32;

/**
 * Attaches a program of type `kprobe` to a function, or any instruction, of a program or library.
 *
 * @param program open program
 * @param binary path; or a name: of a program (looked for along PATH), or a library (`c`, `libssl.so.3`, looked for as the
 *   loader does)
 * @param place name of a function, with `+` and an offset behind it where one is wanted, or an offset in the file
 * @param options entry or return, process, cookie
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_FILE_NOT_FOUND`, `ERR_SYMBOL_NOT_FOUND` (close names are suggested), `ERR_SYMBOL_AMBIGUOUS`,
 *   `ERR_ATTACH_TARGET` for a place that the kernel does not take; NotSupportedError on kernels without uprobes; SyscallError
 * @example
 * ```ts no-run
 * import { attachUprobe, type Program } from "rawbpf";
 * declare const program: Program; // of type kprobe
 *
 * using link = attachUprobe(program, "c", "malloc");
 * ```
 */
export function attachUprobe(program: Program, binary: string, place: UprobePlace, options: UprobeOptions = {}): Link {
  const kind = options.return === true ? "uretprobe" : "uprobe";
  const places = new UprobePlaces(binary, options.pid);
  const { path } = places;
  const shown = typeof place === "string" ? place : `0x${place.toString(16)}`;
  const label = `${kind} ${path}:${shown}`;
  requireType(program, label, "kprobe");
  const offset = places.offsetOf(place);
  const { pid = -1, cookie, referenceCounterOffset = 0 } = options;
  if (!(Number.isInteger(referenceCounterOffset) && referenceCounterOffset >= 0 && referenceCounterOffset < 2 ** 32)) {
    throw new RangeError(`The offset of a reference counter has 32 bits, not ${referenceCounterOffset}`);
  }
  const { backend } = program.owner;
  const unit = options.mode === "tracefs" ? undefined : probeUnit("uprobe", options.eventSources ?? EVENT_SOURCES);
  if (unit === undefined && options.mode === "perf") {
    throw new NotSupportedError("A perf event unit for uprobes", { minimumKernel: "4.17" });
  }
  if (unit === undefined) {
    if (/[\s:]/.test(path)) {
      throw new NotSupportedError(`A probe by tracefs in "${path}"`, {
        hint: "the path must be without blanks and colons",
      });
    }
    const counter = referenceCounterOffset === 0 ? "" : `(0x${referenceCounterOffset.toString(16)})`;
    const probe = makeTracefsProbe(backend, {
      list: "uprobe_events",
      kind: options.return === true ? "r" : "p",
      place: `${path}:0x${offset.toString(16)}${counter}`,
      name: typeof place === "string" ? place : "offset",
      target: label,
      pid,
      tracefs: options.tracefs,
    });
    return attachToPerfEvent(program, { event: probe.event, target: label, cookie, others: [probe] });
  }
  if (options.return === true && unit.returnBit === undefined) {
    throw new NotSupportedError("Probes of returns by perf events", { hint: 'try mode: "tracefs"' });
  }
  // A number of 53 bits would not do: the counter's offset stands in the upper half.
  const config =
    BigInt(options.return === true ? 2 ** unit.returnBit! : 0) + BigInt(referenceCounterOffset) * BigInt(COUNTER_SHIFT);
  const event = openEvent(backend, unit.type, config, path, offset, pid, label);
  return attachToPerfEvent(program, { event, target: label, cookie });
}

function openEvent(
  backend: SyscallBackend,
  type: number,
  config: bigint,
  path: string,
  offset: number,
  pid: number,
  label: string,
): Fd {
  try {
    return perfEventOpen(backend, {
      attr: { type, config, uprobe_path: path, probe_offset: offset },
      pid,
      cpu: pid === -1 ? (onlineCpus()[0] ?? 0) : -1,
      label,
    });
  } catch (cause) {
    if (isErrno(cause, "ESRCH")) {
      throw new BpfError("ERR_ATTACH_TARGET", `Cannot attach ${label}: there is no process ${pid}`, { cause });
    }
    if (isErrno(cause, "EINVAL")) {
      throw new BpfError("ERR_ATTACH_TARGET", `Cannot attach ${label}: the kernel does not take this place`, {
        cause,
        hint: "no instruction begins there, or the file lies on a file system without executable pages",
      });
    }
    throw cause;
  }
}
