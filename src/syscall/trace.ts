import { errnoName } from "./errno.ts";

/** A value in a traced call: numbers, text, bytes the kernel was pointed at, or nested attributes. */
export type TraceValue =
  | number
  | bigint
  | string
  | boolean
  | undefined
  | Uint8Array
  | readonly TraceValue[]
  | { readonly [name: string]: TraceValue };

/** One system call, as it happened. */
export interface SyscallTrace {
  /** System call, for example `bpf`, `perf_event_open`, `mmap`. */
  readonly syscall: string;
  /** For `bpf`: the command as the kernel spells it, for example `BPF_MAP_CREATE`. */
  readonly command: string | undefined;
  /** Decoded arguments or attributes by name; pointers as the bytes or text they point at. */
  readonly arguments: { readonly [name: string]: TraceValue };
  /** Result, or `-errno`. */
  readonly result: number;
  /** Errno name when the call failed. */
  readonly error: string | undefined;
  /** Duration in nanoseconds, from just before to just after the call. */
  readonly nanoseconds: number;
}

/** Receives every call. An exception in it is reported as uncaught and does not disturb the call. */
export type SyscallListener = (call: SyscallTrace) => void;

/** A running trace. */
export interface SyscallTracer {
  /** Ends the trace. Idempotent. */
  stop(): void;
  /** Ends the trace. */
  [Symbol.dispose](): void;
}

const listeners = new Set<{ readonly listener: SyscallListener }>();
let delivering = false;

/**
 * Watches every system call this library makes in this thread, from now on.
 *
 * @param listener called after each call, in order
 * @returns a handle that ends it
 * @example Print calls as strace does
 * ```ts
 * using tracer = traceSyscalls((call) => console.error(formatSyscall(call)));
 * ```
 */
export function traceSyscalls(listener: SyscallListener): SyscallTracer {
  const entry = { listener };
  listeners.add(entry);
  const stop = (): void => void listeners.delete(entry);
  return { stop, [Symbol.dispose]: stop };
}

/** Whether anyone listens; hot paths look before they describe a call. */
export function isTracing(): boolean {
  return listeners.size > 0 && !delivering;
}

/**
 * Tells the listeners about a call. A listener's own calls are not traced: it would not end.
 *
 * @internal
 */
export function emitTrace(
  syscall: string,
  command: string | undefined,
  args: { readonly [name: string]: TraceValue },
  result: number,
  nanoseconds: number,
): void {
  const error = result < 0 ? errnoName(result) : undefined;
  const call: SyscallTrace = { syscall, command, arguments: args, result, error, nanoseconds };
  delivering = true;
  try {
    for (const { listener } of [...listeners]) {
      try {
        listener(call);
      } catch (thrown) {
        queueMicrotask(() => {
          throw thrown;
        });
      }
    }
  } finally {
    delivering = false;
  }
}

/** Options of {@link formatSyscall}. */
export interface FormatSyscallOptions {
  /** Print attributes that are 0 or empty too. Default false. */
  readonly zeros?: boolean;
  /** Longest text or byte string printed whole. Default 32. */
  readonly maxLength?: number;
  /** Append the duration. Default true. */
  readonly duration?: boolean;
}

/**
 * Renders a traced call on one line, as strace would:
 * `bpf(BPF_MAP_CREATE, {map_type=ringbuf, max_entries=262144, map_name="events"}) = 4 <0.000112>`.
 *
 * @param call as a listener received it
 * @param options what to leave out
 */
export function formatSyscall(call: SyscallTrace, options: FormatSyscallOptions = {}): string {
  const parts: string[] = [];
  const whole = options.zeros === true;
  for (const [name, value] of Object.entries(call.arguments)) {
    // Attributes are mostly zeros; plain arguments are few, and 0 says something.
    if (value === undefined || (call.command !== undefined && !whole && isZero(value))) continue;
    parts.push(`${name}=${formatValue(value, options.maxLength ?? 32, whole)}`);
  }
  const inner = call.command === undefined ? parts.join(", ") : `${call.command}, {${parts.join(", ")}}`;
  const result = call.error === undefined ? formatResult(call) : `-1 ${call.error}`;
  const time = options.duration === false ? "" : ` <${(call.nanoseconds / 1e9).toFixed(6)}>`;
  return `${call.syscall}(${inner}) = ${result}${time}`;
}

function formatResult(call: SyscallTrace): string {
  return call.syscall === "mmap" ? `0x${call.result.toString(16)}` : String(call.result);
}

function isZero(value: TraceValue): boolean {
  return value === 0 || value === 0n || value === "" || value === undefined || value === false;
}

function formatValue(value: TraceValue, maxLength: number, whole: boolean): string {
  if (typeof value === "string") {
    // Names of constants are printed bare: PROT_READ|PROT_WRITE, ringbuf.
    if (/^[A-Z_|0-9]+$|^[a-z_]{1,32}$/.test(value)) return value;
    const short = value.slice(0, maxLength);
    return `${JSON.stringify(short)}${short.length < value.length ? "..." : ""}`;
  }
  if (value instanceof Uint8Array) {
    let text = "";
    for (const byte of value.subarray(0, maxLength)) text += `\\x${byte.toString(16).padStart(2, "0")}`;
    return `"${text}"${value.length > maxLength ? `... (${value.length} bytes)` : ""}`;
  }
  if (Array.isArray(value)) return `[${value.map((item) => formatValue(item, maxLength, whole)).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const inner = Object.entries(value as { readonly [name: string]: TraceValue }).filter(
      ([, item]) => whole || !isZero(item),
    );
    return `{${inner.map(([name, item]) => `${name}=${formatValue(item, maxLength, whole)}`).join(", ")}}`;
  }
  return String(value);
}
