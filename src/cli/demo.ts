import { type ChildProcess, spawn } from "node:child_process";
import { parseArgs } from "node:util";
import { print } from "../asm/index.ts";
import { u32, u64 } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { attachTracepoint } from "../links/index.ts";
import { createMap, openRingBuffer } from "../maps/index.ts";
import { loadProgram } from "../programs/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { monotonicTime } from "../syscall/clock.ts";
import { type Capability, effectiveCapabilities } from "../syscall/host.ts";
import { loadKernelBtf } from "../syscall/kernel-btf.ts";
import { openBackend } from "../syscall/select.ts";
import { formatSyscall, traceSyscalls } from "../syscall/trace.ts";
import { openTracefs, readTracepointFormat } from "../syscall/tracefs.ts";
import { UsageError } from "./commands.ts";
import { type ExecEvent, type ExecKernel, execEvent, execProgram } from "./exec-program.ts";

const HELP = `Usage: rawbpf demo [--duration SECONDS] [--trace-syscalls]

Builds a BPF program with the TypeScript builder, loads it with the raw bpf()
system call, attaches it to the tracepoint sched:sched_process_exec, and prints
every process that starts. Needs root (or CAP_BPF, CAP_PERFMON and a readable
tracefs). Leaves nothing behind.

Options:
  --duration SECONDS  stop after this time; 0: only at Ctrl-C (default 10)
  --trace-syscalls    print each raw system call on stderr as it happens

Examples:
  sudo rawbpf demo
  sudo rawbpf demo --duration 0 --trace-syscalls
`;

const RING_SIZE = 256 * 1024;
/** What the demo starts now and then, so that an idle machine shows something. */
const OWN_PROCESSES = [["true"], ["echo", "hello"], ["uname", "-r"], ["sh", "-c", "exit 0"]] as const;
const OWN_PROCESS_INTERVAL_MS = 700;

/** `rawbpf demo`. */
export async function demo(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (options === "help") {
    process.stdout.write(HELP);
    return 0;
  }
  const lacking = missingPrivileges();
  if (lacking !== undefined) {
    process.stderr.write(`rawbpf: the demo needs ${lacking}: run it as root\n`);
    return 1;
  }
  const tracer = options.traceSyscalls
    ? traceSyscalls((call) => process.stderr.write(`${formatSyscall(call)}\n`))
    : undefined;
  try {
    return await showProcesses(openBackend(), options.duration);
  } finally {
    tracer?.stop();
  }
}

function readOptions(args: readonly string[]): "help" | { duration: number; traceSyscalls: boolean } {
  let values: { duration?: string; "trace-syscalls"?: boolean; help?: boolean };
  try {
    values = parseArgs({
      args: [...args],
      options: {
        duration: { type: "string" },
        "trace-syscalls": { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    }).values;
  } catch (error) {
    throw new UsageError(`demo: ${(error as Error).message}`);
  }
  if (values.help === true) return "help";
  const duration = Number(values.duration ?? "10");
  if (!(Number.isFinite(duration) && duration >= 0 && values.duration !== "")) {
    throw new UsageError(`demo: --duration takes seconds, not "${values.duration}"`);
  }
  return { duration, traceSyscalls: values["trace-syscalls"] === true };
}

/** The privileges that are missing, or `undefined`. */
function missingPrivileges(): string | undefined {
  const have = effectiveCapabilities();
  if (have === undefined) return undefined;
  const needed: Capability[] = ["CAP_BPF", "CAP_PERFMON"];
  const missing = needed.filter((capability) => !have.has(capability) && !have.has("CAP_SYS_ADMIN"));
  return missing.length === 0 ? undefined : missing.join(" and ");
}

function readKernel(backend: SyscallBackend): ExecKernel {
  const tracefs = openTracefs(backend);
  let filenameOffset: number;
  try {
    const format = readTracepointFormat(tracefs, "sched", "sched_process_exec");
    const filename = format.fields.find((field) => field.name === "filename");
    if (filename === undefined || !filename.type.startsWith("__data_loc")) {
      throw new BpfError("ERR_TRACEFS", "sched:sched_process_exec has no filename on this kernel");
    }
    filenameOffset = filename.offset;
  } finally {
    tracefs.close();
  }
  return { filenameOffset, task: readTaskOffsets() };
}

function readTaskOffsets(): ExecKernel["task"] {
  let members: readonly { readonly name: string; readonly bitOffset: number }[];
  try {
    const task = loadKernelBtf().typeByName("task_struct", "struct");
    if (task?.kind !== "struct") return undefined;
    members = task.members;
  } catch (error) {
    // A kernel without BTF still runs the demo, without parents.
    if (error instanceof BpfError) return undefined;
    throw error;
  }
  const offset = (name: string): number | undefined => {
    const member = members.find((candidate) => candidate.name === name);
    return member === undefined ? undefined : member.bitOffset / 8;
  };
  const realParent = offset("real_parent");
  const tgid = offset("tgid");
  return realParent === undefined || tgid === undefined ? undefined : { realParent, tgid };
}

async function showProcesses(backend: SyscallBackend, seconds: number): Promise<number> {
  const kernel = readKernel(backend);
  const stop = new AbortController();
  let exitCode = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    exitCode = signal === "SIGINT" ? 130 : 143;
    stop.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  const closers: (() => void)[] = [];
  let events = 0;
  const seen = new Map<string, number>();
  let lostCount = 0n;
  try {
    const ringMap = createMap({ type: "ringbuf", name: "events", maxEntries: RING_SIZE }, { backend });
    closers.push(() => ringMap.close());
    const lost = createMap({ type: "array", name: "lost", key: u32, value: u64, maxEntries: 1 }, { backend });
    closers.push(() => lost.close());
    const instructions = execProgram(kernel, ringMap, lost);
    process.stdout.write(`Program for sched:sched_process_exec, ${instructions.length} instructions:\n\n`);
    process.stdout.write(`${print(instructions, { labels: true, numbers: true, helpers: true }).trimEnd()}\n\n`);
    const spec = { type: "tracepoint", name: "show_exec", instructions, license: "GPL" } as const;
    const program = loadProgram(spec, { backend });
    closers.push(() => program.close());
    const ring = openRingBuffer(ringMap);
    closers.push(() => ring.close());
    const link = attachTracepoint(program, "sched", "sched_process_exec");
    closers.push(() => link.close());
    closers.push(startOwnProcesses());
    if (seconds > 0) {
      const timer = setTimeout(() => stop.abort(), seconds * 1000);
      closers.push(() => clearTimeout(timer));
    }
    const until = seconds > 0 ? `for ${seconds} s or until Ctrl-C` : "until Ctrl-C";
    process.stdout.write(`Loaded and attached. Every process that starts, ${until}:\n\n`);
    const offset = BigInt(Date.now()) * 1_000_000n - monotonicTime(backend);
    process.stdout.write(row("TIME", "PID", "PPID", "UID", "COMM", "FILENAME"));
    try {
      for await (const event of ring.records({ codec: execEvent, signal: stop.signal })) {
        events++;
        seen.set(event.filename, (seen.get(event.filename) ?? 0) + 1);
        process.stdout.write(formatEvent(event, offset));
      }
    } catch (error) {
      if (!stop.signal.aborted) throw error;
    }
    lostCount = lost.get(0) ?? 0n;
  } finally {
    for (const close of closers.reverse()) close();
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
  process.stdout.write(`\n${events} events, ${lostCount} lost, ${seen.size} different programs\n`);
  const most = [...seen].sort((a, b) => b[1] - a[1]).slice(0, 10);
  for (const [filename, count] of most) process.stdout.write(`${String(count).padStart(6)}  ${printable(filename)}\n`);
  return exitCode;
}

/** Starts short processes now and then. @returns a function that ends it */
function startOwnProcesses(): () => void {
  const running = new Set<ChildProcess>();
  let next = 0;
  const start = (): void => {
    const [program, ...args] = OWN_PROCESSES[next++ % OWN_PROCESSES.length]!;
    const child = spawn(program!, args, { stdio: "ignore" });
    running.add(child);
    child.on("exit", () => running.delete(child));
    child.on("error", () => running.delete(child));
  };
  start();
  const timer = setInterval(start, OWN_PROCESS_INTERVAL_MS);
  return () => {
    clearInterval(timer);
    for (const child of running) child.kill();
  };
}

function formatEvent(event: ExecEvent, offset: bigint): string {
  const time = new Date(Number((event.time + offset) / 1_000_000n)).toISOString().slice(11, 23);
  const parent = event.hasParent === 1 ? String(event.ppid) : "-";
  return row(time, String(event.pid), parent, String(event.uid), event.comm, event.filename);
}

function row(time: string, pid: string, ppid: string, uid: string, comm: string, filename: string): string {
  const left = `${time.padEnd(12)}  ${pid.padStart(7)}  ${ppid.padStart(7)}  ${uid.padStart(6)}`;
  return `${left}  ${printable(comm).padEnd(16)} ${printable(filename)}\n`;
}

/** Names are what other processes say they are: control characters in them must not reach the terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e\u00a0-\uffff]/g, "?");
}
