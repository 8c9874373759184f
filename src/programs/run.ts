import { type AttachType, type ProgType, progTestRunAttr } from "../kernel-abi/index.ts";
import { bpfError, rawBpf } from "../syscall/bpf.ts";
import { kernelBuffer, toKernel } from "../syscall/call.ts";
import { errnoName } from "../syscall/errno.ts";
import type { SyscallError } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";

/** What to run a program on. */
export interface RunOptions {
  /**
   * Packet or other input data; at least 14 bytes (an Ethernet header) for programs that see packets, and some 3.5 KiB at
   * most (more for XDP programs with fragments).
   */
  readonly data?: Uint8Array | undefined;
  /**
   * Context struct: a `__sk_buff` or `xdp_md` with the fields the kernel lets a test set, the arguments of a raw
   * tracepoint (8 bytes each), whatever a program of type `syscall` expects.
   */
  readonly context?: Uint8Array | undefined;
  /** How often to run; the duration is the mean. Default 1. */
  readonly repeat?: number | undefined;
  /** `BPF_F_TEST_*` flags. Default 0. */
  readonly flags?: number | undefined;
  /** CPU to run on: raw tracepoints only (`BPF_F_TEST_RUN_ON_CPU`, Linux 5.10). */
  readonly cpu?: number | undefined;
  /**
   * Room for the data afterwards, in bytes: programs can make it longer. Default: as much as it takes. When that was more
   * than expected (length of `data` + 512), the program has run twice; give the room where that matters.
   */
  readonly dataOutSize?: number | undefined;
  /**
   * XDP only (Linux 5.18): what the program decides is done; packets are really sent, redirected or passed to the
   * network stack of the interface in the context. Nothing comes back.
   */
  readonly liveFrames?: boolean | undefined;
  /** Packets made ready at once with {@link liveFrames}, 1 to 256. Default 64. */
  readonly batchSize?: number | undefined;
}

/** What came of a run. */
export interface RunResult {
  /** Return value, unsigned 32 bits. */
  readonly returnValue: number;
  /** Mean duration of one run in nanoseconds, as the kernel measured it. */
  readonly duration: number;
  /** The data afterwards; empty when there was none. Of a flow dissector, the `bpf_flow_keys` that it has filled. */
  readonly data: Uint8Array;
  /** The context afterwards; empty when none was given, or the kernel does not give it back (raw tracepoints). */
  readonly context: Uint8Array;
}

const MAX_INTERRUPTIONS = 30;
const ROOM_TO_GROW = 512;
const LARGEST_ROOM = 1 << 20;
const RUN_ON_CPU = 1;
const LIVE_FRAMES = 2;
const ETHERNET_HEADER = 14;
const MOST_ARGUMENT_BYTES = 96;
const MOST_BATCH = 256;
const EMPTY = new Uint8Array(0);

const PACKET_TYPES: ReadonlySet<ProgType> = /* @__PURE__ */ new Set<ProgType>([
  "socket_filter",
  "sched_cls",
  "sched_act",
  "cgroup_skb",
  "lwt_in",
  "lwt_out",
  "lwt_xmit",
]);

/** Kernel's first release that can run each type without attaching it. */
const RUNNABLE: { readonly [type in ProgType]?: string } = {
  socket_filter: "4.12",
  sched_cls: "4.12",
  sched_act: "4.12",
  cgroup_skb: "4.12",
  lwt_in: "4.12",
  lwt_out: "4.12",
  lwt_xmit: "4.12",
  xdp: "4.12",
  flow_dissector: "5.0",
  tracing: "5.7",
  raw_tracepoint: "5.10",
  sk_lookup: "5.14",
  syscall: "5.14",
  struct_ops: "5.16",
  netfilter: "6.4",
};

/** A program as a run needs to know it. */
export interface Runnable {
  readonly owner: Fd;
  readonly type: ProgType;
  readonly expectedAttachType: AttachType | undefined;
}

/**
 * Runs a program without attaching it (`BPF_PROG_TEST_RUN`).
 *
 * @param program open program
 * @param options data, context, repeat
 * @throws SyscallError that says what the kernel wants of programs of this type
 */
export function runProgram(program: Runnable, options: RunOptions = {}): RunResult {
  const { owner, type } = program;
  const data = options.data ?? EMPTY;
  const context = options.context ?? EMPTY;
  const input = data.length > 0 ? toKernel(data) : undefined;
  const live = options.liveFrames === true;
  let room = live || data.length === 0 ? 0 : (options.dataOutSize ?? data.length + ROOM_TO_GROW);
  const contextIn = context.length > 0 ? toKernel(context) : undefined;
  // A program of type syscall writes to the context it was given, and the kernel refuses another buffer.
  const inPlace = type === "syscall";
  const oneWay = inPlace || live || type === "raw_tracepoint" || type === "raw_tracepoint_writable";
  const contextOut = context.length > 0 && !oneWay ? kernelBuffer(context.length) : undefined;
  const flags = (options.flags ?? 0) | (live ? LIVE_FRAMES : 0) | (options.cpu === undefined ? 0 : RUN_ON_CPU);
  let interruptions = 0;
  for (;;) {
    const output = room === 0 ? undefined : kernelBuffer(room);
    const { result, attr } = rawBpf(owner.backend, "BPF_PROG_TEST_RUN", progTestRunAttr, {
      prog_fd: owner.number,
      data_in: input,
      data_size_in: data.length,
      data_out: output,
      data_size_out: output?.length ?? 0,
      ctx_in: contextIn,
      ctx_size_in: context.length,
      ctx_out: contextOut,
      ctx_size_out: contextOut?.length ?? 0,
      repeat: options.repeat ?? 0,
      flags,
      cpu: options.cpu ?? 0,
      batch_size: options.batchSize ?? 0,
    });
    const { fields } = progTestRunAttr;
    if (result < 0) {
      const name = errnoName(result);
      // A signal (a profiler's, say) interrupts long runs.
      if (name === "EINTR" && ++interruptions < MAX_INTERRUPTIONS) continue;
      const needed = attr.readU32(fields.data_size_out.offset);
      if (name === "ENOSPC" && options.dataOutSize === undefined && needed > room && needed <= LARGEST_ROOM) {
        room = needed;
        continue;
      }
      throw runError(program, options, result, needed);
    }
    return {
      returnValue: attr.readU32(fields.retval.offset),
      duration: attr.readU32(fields.duration.offset),
      data: output?.slice(0, attr.readU32(fields.data_size_out.offset)) ?? new Uint8Array(0),
      context: inPlace
        ? (contextIn?.slice() ?? new Uint8Array(0))
        : (contextOut?.slice(0, attr.readU32(fields.ctx_size_out.offset)) ?? new Uint8Array(0)),
    };
  }
}

function runError(program: Runnable, options: RunOptions, errno: number, needed: number): SyscallError {
  const name = errnoName(errno);
  const action = `Cannot run ${program.owner.label}`;
  const { type } = program;
  let detail: string | undefined;
  let hint: string | undefined;
  if (name === "ENOTSUPP" || name === "EOPNOTSUPP") {
    const since = RUNNABLE[type];
    detail = `this kernel does not run ${type} programs that are not attached`;
    hint =
      since === undefined
        ? `types that can be run: ${Object.keys(RUNNABLE).join(", ")}`
        : type === "struct_ops"
          ? "only those of the kernel's own test, bpf_dummy_ops, can be run"
          : `needs Linux ${since} or newer`;
  } else if (name === "ENOSPC") {
    detail = `the data afterwards has ${needed} bytes, more than the ${options.dataOutSize ?? needed} there is room for`;
    hint = "it has run; give dataOutSize";
  } else if (name === "ENXIO" && options.cpu !== undefined) {
    detail = `CPU ${options.cpu} is not online`;
  } else if (name === "E2BIG" && (options.batchSize ?? 0) > MOST_BATCH) {
    detail = `a batch of ${options.batchSize} is more than ${MOST_BATCH}`;
  } else if (name === "EINVAL") {
    const faults = runFaults(program, options);
    detail = faults[0] ?? expectation(type);
  } else if (name === "E2BIG") {
    detail = "the context is longer than the kernel knows, and what is too much is not zero";
  } else if (name === "EAFNOSUPPORT" && type === "sk_lookup") {
    detail = "the family in the context is neither AF_INET (2) nor AF_INET6 (10)";
  } else if (name === "ERANGE" && type === "sk_lookup") {
    detail = "a port in the context is above 65535";
  } else if (name === "ENODEV") {
    detail = "there is no interface of the number in the context";
  }
  return bpfError("BPF_PROG_TEST_RUN", errno, { action, detail, hint });
}

/** What about the options does not go with the type of the program. The kernel answers all of it with EINVAL. */
function runFaults(program: Runnable, options: RunOptions): string[] {
  const { type } = program;
  const faults: string[] = [];
  const say = (wrong: boolean, text: string): void => void (wrong && faults.push(text));
  const size = options.data?.length ?? 0;
  const context = options.context?.length ?? 0;
  const seesPackets = PACKET_TYPES.has(type) || type === "xdp" || type === "flow_dissector" || type === "netfilter";
  const isRaw = type === "raw_tracepoint" || type === "raw_tracepoint_writable";
  if (seesPackets && size < ETHERNET_HEADER) {
    faults.push(`it sees packets: data needs ${ETHERNET_HEADER} bytes (an Ethernet header) or more, not ${size}`);
  }
  say(!seesPackets && size > 0, `a ${type} program takes no data`);
  say(options.cpu !== undefined && !isRaw, "only raw tracepoints can be run on a given CPU");
  say(options.liveFrames === true && type !== "xdp", "only XDP programs can be run with live frames");
  say(options.batchSize !== undefined && options.liveFrames !== true, "a batch size goes with live frames only");
  say((options.repeat ?? 0) > 0 && (isRaw || type === "syscall"), `a ${type} program is run once: leave repeat out`);
  if (isRaw) {
    const what = `its context is the arguments of the tracepoint: those that it reads, 8 bytes each, ${MOST_ARGUMENT_BYTES} at most`;
    say(
      context === 0 || context % 8 !== 0 || context > MOST_ARGUMENT_BYTES || faults.length === 0,
      `${what}, not ${context}`,
    );
  }
  say(type === "syscall" && context > 0xffff, `a context has 65535 bytes at most, not ${context}`);
  say(type === "syscall" && faults.length === 0, `it reads more of its context than the ${context} bytes given`);
  say(type === "sk_lookup" && context === 0, "it needs a context: a bpf_sk_lookup with family, addresses and ports");
  if (type === "tracing") {
    const attach = program.expectedAttachType;
    const runs = attach === undefined || /^(trace_fentry|trace_fexit|trace_fsession|modify_return)$/.test(attach);
    say(!runs, `only fentry, fexit and fmod_ret programs can be run, not ${attach}`);
  }
  if (type === "xdp") {
    const attach = program.expectedAttachType;
    say(attach === "xdp_devmap" || attach === "xdp_cpumap", `a program of a ${attach} cannot be run`);
    if (options.context !== undefined) faults.push(...xdpFaults(options.context, size));
  }
  return faults;
}

/** `xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex. */
function xdpFaults(context: Uint8Array, size: number): string[] {
  const view = new DataView(context.buffer, context.byteOffset, context.length);
  const word = (at: number): number => (at + 4 <= context.length ? view.getUint32(at, true) : 0);
  const start = word(0);
  const end = word(4);
  // Since 6.18 it may be less: what is behind it becomes fragments.
  if (end !== size) return [`data_end in the context must be the ${size} bytes of the data, not ${end}`];
  if (start > end) return [`data in the context is ${start}, behind data_end at ${end}`];
  if (start % 4 !== 0 || start > 252) {
    return [
      `data in the context says how many bytes of metadata come first: a multiple of 4, 252 at most, not ${start}`,
    ];
  }
  if (word(8) !== 0) return ["data_meta in the context must be 0: metadata begins where the data begins"];
  if (word(20) !== 0) return ["egress_ifindex in the context must be 0"];
  if (word(12) === 0 && word(16) !== 0) return ["rx_queue_index in the context needs an ingress_ifindex"];
  return ["the context names an interface or a queue that cannot be used"];
}

/** What the kernel wants of a type, when nothing is certainly wrong. */
function expectation(type: ProgType): string {
  if (PACKET_TYPES.has(type)) {
    return "a field of the context is set that a test may not set (allowed: mark, priority, ingress_ifindex, ifindex, cb, tstamp, wire_len, gso_segs, gso_size, hwtstamp), or the data is too long";
  }
  if (type === "xdp") return "the data is too long, or a flag is not known";
  if (type === "flow_dissector")
    return "a flag is not known, or the context is not that of a bpf_flow_keys with flags only";
  if (type === "sk_lookup") return "the context must be a bpf_sk_lookup with cookie 0";
  if (type === "netfilter") return "the data must hold an IPv4 or IPv6 header behind the Ethernet header";
  return "the kernel does not run it with these options";
}
