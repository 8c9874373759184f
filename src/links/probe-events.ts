import { closeSync, constants, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { BpfError, NotSupportedError } from "../errors.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import type { Fd } from "../syscall/fd.ts";
import { onlineCpus, readText } from "../syscall/host.ts";
import { perfEventOpen } from "../syscall/perf.ts";
import { openTracefs, type Tracefs } from "../syscall/tracefs.ts";

/** What the kernel says of its unit for probes. */
export interface ProbeUnit {
  /** `type` of its events. */
  readonly type: number;
  /** Bit of `config` that makes a probe of the function's return; `undefined` when the kernel does not say. */
  readonly returnBit: number | undefined;
}

/** Where units are described. */
export const EVENT_SOURCES = "/sys/bus/event_source/devices";

/**
 * The unit for probes of functions, of the kernel or of user space (Linux 4.17).
 *
 * @param name which
 * @param root folder that describes units
 * @returns `undefined` where there is none
 */
export function probeUnit(name: "kprobe" | "uprobe", root: string = EVENT_SOURCES): ProbeUnit | undefined {
  const type = readText(`${root}/${name}/type`);
  if (type === undefined || !/^\d+\s*$/.test(type)) return undefined;
  const bit = /^config:(\d+)\s*$/.exec(readText(`${root}/${name}/format/retprobe`) ?? "")?.[1];
  return { type: Number(type), returnBit: bit === undefined ? undefined : Number(bit) };
}

/** A probe that was made in tracefs. */
export interface TracefsProbe {
  /** Its event. */
  readonly event: Fd;
  /** Removes the probe; the event must be closed before. */
  close(): void;
}

let made = 0;

/**
 * Makes a probe by writing to `kprobe_events` or `uprobe_events`: the way of kernels without a unit for probes.
 *
 * @param backend shim
 * @param options which list; `p` or `r`, with a number where the kernel takes one; where, as tracefs spells it
 * @throws NotSupportedError when the kernel has no such list; BpfError `ERR_TRACEFS` when it does not take the probe
 */
export function makeTracefsProbe(
  backend: SyscallBackend,
  options: {
    readonly list: "kprobe_events" | "uprobe_events";
    readonly kind: string;
    readonly place: string;
    /** Name of the function, for the event's. */
    readonly name: string;
    /** What it is, for messages. */
    readonly target: string;
    readonly pid?: number | undefined;
    readonly tracefs?: Tracefs | undefined;
  },
): TracefsProbe {
  const { list, kind, place, target, pid = -1 } = options;
  const tracefs = options.tracefs ?? openTracefs(backend);
  const done = (): void => {
    if (options.tracefs === undefined) tracefs.close();
  };
  const group = "rawbpf";
  const event = `p${process.pid}_${++made}_${options.name.replace(/[^A-Za-z0-9_]/g, "_").slice(0, 30)}`;
  const file = `${tracefs.path}/${list}`;
  const remove = (): void => {
    try {
      appendTo(file, `-:${group}/${event}`);
    } finally {
      done();
    }
  };
  try {
    appendTo(file, `${kind}:${group}/${event} ${place}`);
  } catch (cause) {
    const code = (cause as { code?: string }).code ?? "";
    const failed = refusal(tracefs, target, list, place, code, cause);
    done();
    throw failed;
  }
  try {
    const id = Number(readFileSync(`${tracefs.path}/events/${group}/${event}/id`, "utf8"));
    const opened = perfEventOpen(backend, {
      attr: { type: 2, config: id, sample_period: 1, wakeup_events: 1 },
      pid,
      cpu: pid === -1 ? (onlineCpus()[0] ?? 0) : -1,
      label: target,
    });
    return { event: opened, close: remove };
  } catch (error) {
    remove();
    throw error;
  }
}

function appendTo(file: string, line: string): void {
  // Truncating would remove all probes, those of others too; creating would hide that the kernel has no such file.
  const list = openSync(file, constants.O_WRONLY | constants.O_APPEND);
  try {
    writeSync(list, `${line}\n`);
  } finally {
    closeSync(list);
  }
}

function refusal(
  tracefs: Tracefs,
  target: string,
  list: string,
  place: string,
  code: string,
  cause: unknown,
): BpfError {
  if (code === "ENOENT" && !exists(tracefs, list)) {
    const option = list === "kprobe_events" ? "CONFIG_KPROBE_EVENTS" : "CONFIG_UPROBE_EVENTS";
    return new NotSupportedError(`Attaching to ${target}`, { hint: `this kernel was built without ${option}`, cause });
  }
  return new BpfError("ERR_TRACEFS", `Cannot make a probe for ${target} in ${list}: ${code} for "${place}"`, { cause });
}

function exists(tracefs: Tracefs, name: string): boolean {
  try {
    return readdirSync(tracefs.path).includes(name);
  } catch {
    return false;
  }
}
