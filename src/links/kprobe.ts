import { closest } from "../bytes/index.ts";
import { BpfError, NotSupportedError } from "../errors.ts";
import type { Program } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { isErrno } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { onlineCpus, readText } from "../syscall/host.ts";
import { perfEventOpen } from "../syscall/perf.ts";
import type { Tracefs } from "../syscall/tracefs.ts";
import { requireType } from "./create.ts";
import type { Link } from "./link.ts";
import { attachToPerfEvent } from "./perf-link.ts";
import { EVENT_SOURCES, makeTracefsProbe, probeUnit } from "./probe-events.ts";

/** How to attach to a function of the kernel. */
export interface KprobeOptions {
  /** At the return of the function: `ctx` has its result. Default at its entry. */
  readonly return?: boolean | undefined;
  /** Bytes behind the start of the function; 0 for `return`. Default 0. */
  readonly offset?: number | undefined;
  /** Value the program reads with `get_attach_cookie` (Linux 5.15). */
  readonly cookie?: bigint | undefined;
  /**
   * For `return`: how many calls may be under way at once (tracefs only; ignored by kernels that use rethook, 5.18).
   * Default: the kernel's choice.
   */
  readonly maxActive?: number | undefined;
  /** `perf` for the unit of the kernel (4.17), `tracefs` for `kprobe_events`. Default: the unit, else tracefs. */
  readonly mode?: "perf" | "tracefs" | undefined;
  /** @internal Folder that describes units of perf events. */
  readonly eventSources?: string | undefined;
  /** Where tracefs is. Default: where it is mounted, or a private instance. */
  readonly tracefs?: Tracefs | undefined;
}

/**
 * Attaches a program of type `kprobe` to a function of the kernel.
 *
 * @param program open program
 * @param target function, `module:function`, or an address
 * @param options entry or return, offset, cookie
 * @returns the attachment: close it to detach
 * @throws BpfError `ERR_ATTACH_TARGET` for a function that this kernel does not have (close names are suggested) or does not
 *   let trace; NotSupportedError on kernels without kprobes; SyscallError
 * @example
 * ```ts no-run
 * import { attachKprobe, type Program } from "rawbpf";
 * declare const program: Program; // of type kprobe
 *
 * using entry = attachKprobe(program, "do_unlinkat");
 * using exit = attachKprobe(program, "do_unlinkat", { return: true });
 * ```
 */
export function attachKprobe(program: Program, target: string | bigint, options: KprobeOptions = {}): Link {
  const kind = options.return === true ? "kretprobe" : "kprobe";
  const { offset = 0, cookie } = options;
  const name = typeof target === "bigint" ? `0x${BigInt.asUintN(64, target).toString(16)}` : target;
  const label = `${kind} ${name}${offset === 0 ? "" : `+${offset}`}`;
  requireType(program, label, "kprobe");
  if (name === "") throw new TypeError("Need the name of a function");
  if (!(Number.isSafeInteger(offset) && offset >= 0))
    throw new RangeError(`An offset is a whole number, not ${offset}`);
  const { backend } = program.owner;
  const unit = options.mode === "tracefs" ? undefined : probeUnit("kprobe", options.eventSources ?? EVENT_SOURCES);
  if (unit === undefined && options.mode === "perf") {
    throw new NotSupportedError("A perf event unit for kprobes", { minimumKernel: "4.17" });
  }
  if (unit === undefined || options.maxActive !== undefined) {
    const probe = tracefsProbe(backend, label, target, options);
    return attachToPerfEvent(program, { event: probe.event, target: label, cookie, others: [probe] });
  }
  if (options.return === true && unit.returnBit === undefined) {
    throw new NotSupportedError("Probes of returns by perf events", { hint: 'try mode: "tracefs"' });
  }
  const event = openEvent(
    backend,
    unit.type,
    label,
    target,
    options.return === true ? 2 ** unit.returnBit! : 0,
    offset,
  );
  return attachToPerfEvent(program, { event, target: label, cookie });
}

function openEvent(
  backend: SyscallBackend,
  type: number,
  label: string,
  target: string | bigint,
  config: number,
  offset: number,
): Fd {
  const where =
    typeof target === "bigint"
      ? { kprobe_addr: BigInt.asUintN(64, target) + BigInt(offset) }
      : { kprobe_func: target, probe_offset: offset };
  try {
    return perfEventOpen(backend, {
      attr: { type, config, ...where },
      // Such an event sees all processes whatever CPU it is opened for.
      cpu: onlineCpus()[0] ?? 0,
      label,
    });
  } catch (cause) {
    throw explain(cause, label, target, offset);
  }
}

function tracefsProbe(
  backend: SyscallBackend,
  label: string,
  target: string | bigint,
  options: KprobeOptions,
): ReturnType<typeof makeTracefsProbe> {
  const { offset = 0, maxActive } = options;
  const symbol = typeof target === "bigint" ? `0x${BigInt.asUintN(64, target).toString(16)}` : target;
  // Names end up in a command of the kernel's: nothing but a symbol may stand there.
  if (!/^[\w.:$]+$/.test(symbol)) throw new BpfError("ERR_ATTACH_TARGET", `"${symbol}" is no function's name`);
  try {
    return makeTracefsProbe(backend, {
      list: "kprobe_events",
      kind: options.return === true ? `r${maxActive ?? ""}` : "p",
      place: `${symbol}${offset === 0 ? "" : `+${offset}`}`,
      name: symbol,
      target: label,
      tracefs: options.tracefs,
    });
  } catch (cause) {
    if (cause instanceof BpfError && cause.code === "ERR_TRACEFS") throw explain(cause, label, target, offset);
    throw cause;
  }
}

function explain(cause: unknown, label: string, target: string | bigint, offset: number): unknown {
  if (typeof target === "bigint") return cause;
  const inner = (cause as { cause?: { code?: string } }).cause;
  const refused = ["ENOENT", "EINVAL", "EILSEQ", "EADDRNOTAVAIL"].some(
    (code) => isErrno(cause, code) || inner?.code === code,
  );
  if (!refused) return cause;
  const known = isKernelFunction(target);
  if (known === false) {
    const near = closest(target.replace(/^.*:/, ""), kernelFunctions());
    return new BpfError("ERR_ATTACH_TARGET", `Cannot attach ${label}: this kernel has no function "${target}"`, {
      cause,
      hint: near === undefined ? undefined : `did you mean ${near}?`,
    });
  }
  const why = offset > 0 ? "no instruction begins at that offset, or it cannot be probed" : "it cannot be probed";
  return new BpfError("ERR_ATTACH_TARGET", `Cannot attach ${label}: ${why}`, { cause });
}

/** Whether kallsyms lists a name; `undefined` where that cannot be read. */
function isKernelFunction(target: string): boolean | undefined {
  const text = readText("/proc/kallsyms");
  if (text === undefined) return undefined;
  const name = target.replace(/^.*:/, "").replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(` [tTwW] ${name}(?:\\s|$)`, "m").test(text);
}

/** Names of the kernel's functions, from kallsyms. */
export function kernelFunctions(): string[] {
  const names: string[] = [];
  for (const line of (readText("/proc/kallsyms") ?? "").split("\n")) {
    const match = /^[0-9a-f]+ [tTwW] (\S+)/.exec(line);
    if (match !== null) names.push(match[1]!);
  }
  return names;
}

/** What stands before the names of functions behind system calls, by architecture. */
const SYSCALL_PREFIXES = { x64: ["__x64_sys_", "__se_sys_", "sys_"], arm64: ["__arm64_sys_", "__se_sys_", "sys_"] };

/**
 * Name of the kernel's function behind a system call.
 *
 * @param backend shim, for the architecture
 * @param name system call: `openat`
 * @param functions names that the kernel has. Default: from kallsyms
 * @returns for example `__x64_sys_openat`
 */
export function syscallFunction(
  backend: SyscallBackend,
  name: string,
  functions: ReadonlySet<string> = new Set(kernelFunctions()),
): string {
  const candidates = SYSCALL_PREFIXES[backend.architecture].map((prefix) => `${prefix}${name}`);
  return candidates.find((candidate) => functions.has(candidate)) ?? candidates[0]!;
}

/**
 * Attaches a program of type `kprobe` to the kernel's function behind a system call. On kernels that wrap system calls
 * (4.17, both architectures here) the argument of that function is a `struct pt_regs *` with those of the call.
 *
 * @param program open program
 * @param name system call: `openat`
 * @param options entry or return, cookie
 * @throws as {@link attachKprobe}
 */
export function attachSyscall(program: Program, name: string, options: KprobeOptions = {}): Link {
  return attachKprobe(program, syscallFunction(program.owner.backend, name), options);
}
