import { BpfCommand } from "../kernel-abi/index.ts";
import type { StructLayout } from "../kernel-abi/layout.ts";
import { type AttrValues, type EncodedAttr, encodeAttr } from "./attr.ts";
import type { SyscallBackend } from "./backend.ts";
import { keepAlive } from "./call.ts";
import { SyscallError } from "./errors.ts";
import { Fd } from "./fd.ts";
import { type CallNeeds, permissionHint } from "./hints.ts";
import { emitTrace, isTracing, type TraceValue } from "./trace.ts";

/** What a failed command says. */
export interface BpfCallContext extends CallNeeds {
  /** What was tried: `Cannot create map "events"`. */
  readonly action: string;
  /** More about an errno, put in place of its general meaning. */
  readonly detail?: string | undefined;
  /** What to do about it, when the caller knows better than the general hints. */
  readonly hint?: string | undefined;
  /** Values shown in a trace besides, or instead of, the attributes: names for numbers, instructions for bytes. */
  readonly trace?: { readonly [name: string]: TraceValue } | undefined;
}

/** Result of a raw command. */
export interface RawBpfResult {
  /** Result, or `-errno`. */
  readonly result: number;
  /** The attributes as the kernel left them. */
  readonly attr: EncodedAttr;
}

/**
 * Issues any `bpf(2)` command. Attributes are a fresh zero-filled buffer; what they point at stays referenced.
 *
 * @param backend shim
 * @param command as the kernel spells it
 * @param layout layout of its attributes, from `kernel-abi`
 * @param values attributes by field name
 * @param trace values to show in a trace besides
 * @returns result or `-errno`, and the attributes, into which the kernel may have written
 */
export function rawBpf<const L extends StructLayout>(
  backend: SyscallBackend,
  command: BpfCommand,
  layout: L,
  values: AttrValues<L>,
  trace?: { readonly [name: string]: TraceValue },
): RawBpfResult {
  const attr = encodeAttr(backend, layout, values);
  const number = BpfCommand[command];
  let result: number;
  if (isTracing()) {
    const started = performance.now();
    result = backend.bpf(number, attr.address, attr.bytes.length);
    const nanoseconds = Math.round((performance.now() - started) * 1e6);
    emitTrace("bpf", command, { ...attr.values, ...trace }, result, nanoseconds);
  } else {
    result = backend.bpf(number, attr.address, attr.bytes.length);
  }
  keepAlive(attr);
  return { result, attr };
}

/**
 * Issues a `bpf(2)` command and throws when it fails.
 *
 * @param backend shim
 * @param command as the kernel spells it
 * @param layout layout of its attributes
 * @param values attributes by field name
 * @param context what a failure says
 * @returns result and attributes
 * @throws SyscallError with a hint where a missing privilege is certain
 */
export function bpf<const L extends StructLayout>(
  backend: SyscallBackend,
  command: BpfCommand,
  layout: L,
  values: AttrValues<L>,
  context: BpfCallContext,
): RawBpfResult {
  const outcome = rawBpf(backend, command, layout, values, context.trace);
  if (outcome.result < 0) throw bpfError(command, outcome.result, context);
  return outcome;
}

/**
 * The error of a failed command.
 *
 * @param command as the kernel spells it
 * @param errno positive or negative error number
 * @param context what it says
 */
export function bpfError(command: BpfCommand, errno: number, context: BpfCallContext): SyscallError {
  const hint = context.hint ?? permissionHint("bpf", errno, { ...context, command });
  return new SyscallError(context.action, "bpf", errno, { command, hint, detail: context.detail });
}

/**
 * Issues a command that makes a descriptor. The kernel sets close-on-exec on all of them.
 *
 * @param backend shim
 * @param command as the kernel spells it
 * @param layout layout of its attributes
 * @param values attributes by field name
 * @param context what a failure says; `label` names the descriptor
 * @throws SyscallError
 */
export function bpfFd<const L extends StructLayout>(
  backend: SyscallBackend,
  command: BpfCommand,
  layout: L,
  values: AttrValues<L>,
  context: BpfCallContext & { readonly label: string },
): Fd {
  const { result } = bpf(backend, command, layout, values, context);
  return new Fd(backend, result, context.label);
}
