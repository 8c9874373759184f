import { NotSupportedError } from "../errors.ts";
import {
  PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
  PERF_COUNT_HW_BRANCH_MISSES,
  PERF_COUNT_HW_BUS_CYCLES,
  PERF_COUNT_HW_CACHE_MISSES,
  PERF_COUNT_HW_CACHE_REFERENCES,
  PERF_COUNT_HW_CPU_CYCLES,
  PERF_COUNT_HW_INSTRUCTIONS,
  PERF_COUNT_HW_REF_CPU_CYCLES,
  PERF_COUNT_HW_STALLED_CYCLES_BACKEND,
  PERF_COUNT_HW_STALLED_CYCLES_FRONTEND,
  PERF_COUNT_SW_ALIGNMENT_FAULTS,
  PERF_COUNT_SW_BPF_OUTPUT,
  PERF_COUNT_SW_CGROUP_SWITCHES,
  PERF_COUNT_SW_CONTEXT_SWITCHES,
  PERF_COUNT_SW_CPU_CLOCK,
  PERF_COUNT_SW_CPU_MIGRATIONS,
  PERF_COUNT_SW_DUMMY,
  PERF_COUNT_SW_EMULATION_FAULTS,
  PERF_COUNT_SW_PAGE_FAULTS,
  PERF_COUNT_SW_PAGE_FAULTS_MAJ,
  PERF_COUNT_SW_PAGE_FAULTS_MIN,
  PERF_COUNT_SW_TASK_CLOCK,
  PERF_TYPE_BREAKPOINT,
  PERF_TYPE_HARDWARE,
  PERF_TYPE_SOFTWARE,
  type perfEventAttr,
} from "../kernel-abi/index.ts";
import type { Program } from "../programs/index.ts";
import type { AttrValues } from "../syscall/attr.ts";
import { isErrno } from "../syscall/errors.ts";
import { onlineCpus } from "../syscall/host.ts";
import { perfEventOpen } from "../syscall/perf.ts";
import { requireType } from "./create.ts";
import { Link, type LinkParts } from "./link.ts";
import { perfLinkParts } from "./perf-link.ts";

/** An event that the kernel itself counts. */
export type SoftwareEvent =
  | "cpu_clock"
  | "task_clock"
  | "page_faults"
  | "context_switches"
  | "cpu_migrations"
  | "page_faults_min"
  | "page_faults_maj"
  | "alignment_faults"
  | "emulation_faults"
  | "dummy"
  | "bpf_output"
  | "cgroup_switches";

const SOFTWARE_EVENTS: { readonly [E in SoftwareEvent]: number } = {
  cpu_clock: PERF_COUNT_SW_CPU_CLOCK,
  task_clock: PERF_COUNT_SW_TASK_CLOCK,
  page_faults: PERF_COUNT_SW_PAGE_FAULTS,
  context_switches: PERF_COUNT_SW_CONTEXT_SWITCHES,
  cpu_migrations: PERF_COUNT_SW_CPU_MIGRATIONS,
  page_faults_min: PERF_COUNT_SW_PAGE_FAULTS_MIN,
  page_faults_maj: PERF_COUNT_SW_PAGE_FAULTS_MAJ,
  alignment_faults: PERF_COUNT_SW_ALIGNMENT_FAULTS,
  emulation_faults: PERF_COUNT_SW_EMULATION_FAULTS,
  dummy: PERF_COUNT_SW_DUMMY,
  bpf_output: PERF_COUNT_SW_BPF_OUTPUT,
  cgroup_switches: PERF_COUNT_SW_CGROUP_SWITCHES,
};

/** An event that the processor counts, where it has counters. */
export type HardwareEvent =
  | "cpu_cycles"
  | "instructions"
  | "cache_references"
  | "cache_misses"
  | "branch_instructions"
  | "branch_misses"
  | "bus_cycles"
  | "stalled_cycles_frontend"
  | "stalled_cycles_backend"
  | "ref_cpu_cycles";

const HARDWARE_EVENTS: { readonly [E in HardwareEvent]: number } = {
  cpu_cycles: PERF_COUNT_HW_CPU_CYCLES,
  instructions: PERF_COUNT_HW_INSTRUCTIONS,
  cache_references: PERF_COUNT_HW_CACHE_REFERENCES,
  cache_misses: PERF_COUNT_HW_CACHE_MISSES,
  branch_instructions: PERF_COUNT_HW_BRANCH_INSTRUCTIONS,
  branch_misses: PERF_COUNT_HW_BRANCH_MISSES,
  bus_cycles: PERF_COUNT_HW_BUS_CYCLES,
  stalled_cycles_frontend: PERF_COUNT_HW_STALLED_CYCLES_FRONTEND,
  stalled_cycles_backend: PERF_COUNT_HW_STALLED_CYCLES_BACKEND,
  ref_cpu_cycles: PERF_COUNT_HW_REF_CPU_CYCLES,
};

/** Which event runs the program. */
export type PerfEventSource =
  /** Counted by the kernel: `cpu_clock` samples what runs. */
  | { readonly software: SoftwareEvent }
  /** Counted by the processor. */
  | { readonly hardware: HardwareEvent }
  /** An address that is read, written or executed. */
  | {
      readonly breakpoint: bigint | number;
      /** Default `w`. */
      readonly access?: "r" | "w" | "rw" | "x" | undefined;
      /** Bytes watched: 1, 2, 4 or 8. Default 4; for `x` that of a `long`. */
      readonly length?: number | undefined;
    }
  /** Any other: fields of `perf_event_attr`. */
  | { readonly attr: AttrValues<typeof perfEventAttr> };

/** How often and where. */
export interface PerfEventAttachOptions {
  /** Runs the program after every so many events. Default 1 where no frequency is given. */
  readonly samplePeriod?: number | undefined;
  /** Runs the program about so many times a second (on each CPU). */
  readonly sampleFrequency?: number | undefined;
  /** Only this process; default: all. */
  readonly pid?: number | undefined;
  /** Only these CPUs; default: all that are online, or wherever the process is. */
  readonly cpus?: readonly number[] | undefined;
  /** Value the program reads with `get_attach_cookie` (Linux 5.15). */
  readonly cookie?: bigint | undefined;
}

const ACCESS = { r: 1, w: 2, rw: 3, x: 4 } as const;
const LONG = 8;

/**
 * Attaches a program of type `perf_event` to an event: on every CPU, or for a process.
 *
 * @param program open program
 * @param source which event
 * @param options how often and where
 * @returns one attachment for all CPUs: close it to detach
 * @throws NotSupportedError for events this machine does not count; SyscallError `EACCES`, `ESRCH` for a process that
 *   is gone; BpfError `ERR_TYPE_MISMATCH`
 * @example
 * ```ts no-run
 * import { attachPerfEvent, type Program } from "rawbpf";
 * declare const program: Program; // of type perf_event
 *
 * using sampling = attachPerfEvent(program, { software: "cpu_clock" }, { sampleFrequency: 99 });
 * ```
 */
export function attachPerfEvent(program: Program, source: PerfEventSource, options: PerfEventAttachOptions = {}): Link {
  const target = describe(source);
  requireType(program, target, "perf_event");
  const { samplePeriod, sampleFrequency, pid = -1, cookie } = options;
  if (samplePeriod !== undefined && sampleFrequency !== undefined) {
    throw new TypeError("Give samplePeriod or sampleFrequency, not both");
  }
  const rate =
    sampleFrequency === undefined
      ? "attr" in source && samplePeriod === undefined
        ? {}
        : { sample_period: samplePeriod ?? 1 }
      : { freq: 1, sample_freq: sampleFrequency };
  const attr = { ...attrOf(source), ...rate, disabled: 1 };
  const cpus = options.cpus ?? (pid === -1 ? onlineCpus() : [-1]);
  if (cpus.length === 0) throw new RangeError("There are no CPUs to attach on");
  const made: { close(): void }[] = [];
  try {
    const parts: LinkParts[] = [];
    for (const cpu of cpus) {
      const where = cpu === -1 ? target : `${target} on CPU ${cpu}`;
      const event = open(program, attr, pid, cpu, where, source);
      made.push(event);
      const part = perfLinkParts(program, { event, target: where, cookie });
      if (part.fd !== event) made.push(part.fd!);
      parts.push(part);
    }
    const [first] = parts;
    const others = [...first!.others!];
    for (const part of parts.slice(1)) others.push(part.fd!, ...part.others!);
    return new Link(target, { type: first!.type, fd: first!.fd, others });
  } catch (error) {
    for (const one of made.reverse()) one.close();
    throw error;
  }
}

function open(
  program: Program,
  attr: AttrValues<typeof perfEventAttr>,
  pid: number,
  cpu: number,
  label: string,
  source: PerfEventSource,
): ReturnType<typeof perfEventOpen> {
  try {
    return perfEventOpen(program.owner.backend, { attr, pid, cpu, label });
  } catch (cause) {
    if (!isErrno(cause, "ENOENT") && !isErrno(cause, "EOPNOTSUPP") && !isErrno(cause, "ENODEV")) throw cause;
    const hint =
      "hardware" in source
        ? 'virtual machines often have no counters: sample with { software: "cpu_clock" }'
        : undefined;
    throw new NotSupportedError(`The event ${describe(source)} on this machine`, { cause, hint });
  }
}

function attrOf(source: PerfEventSource): AttrValues<typeof perfEventAttr> {
  if ("software" in source) return { type: PERF_TYPE_SOFTWARE, config: numberOf(SOFTWARE_EVENTS, source.software) };
  if ("hardware" in source) return { type: PERF_TYPE_HARDWARE, config: numberOf(HARDWARE_EVENTS, source.hardware) };
  if ("attr" in source) return source.attr;
  const { access = "w", length = access === "x" ? LONG : 4 } = source;
  if (!(access in ACCESS)) throw new TypeError(`"${String(access)}" is no access: r, w, rw or x`);
  return {
    type: PERF_TYPE_BREAKPOINT,
    bp_type: ACCESS[access],
    bp_addr: BigInt.asUintN(64, BigInt(source.breakpoint)),
    bp_len: length,
  };
}

function numberOf(table: { readonly [name: string]: number }, name: string): number {
  if (Object.hasOwn(table, name)) return table[name]!;
  throw new TypeError(`"${name}" is no event: ${Object.keys(table).join(", ")}`);
}

function describe(source: PerfEventSource): string {
  if ("software" in source) return `software event ${source.software}`;
  if ("hardware" in source) return `hardware event ${source.hardware}`;
  if ("breakpoint" in source) return `breakpoint at 0x${BigInt.asUintN(64, BigInt(source.breakpoint)).toString(16)}`;
  return `perf event ${source.attr.type ?? 0}:${source.attr.config ?? 0}`;
}
