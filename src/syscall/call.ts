import type { SyscallBackend } from "./backend.ts";
import { type SyscallNumbers, syscallNumbers } from "./numbers.ts";
import { emitTrace, isTracing, type TraceValue } from "./trace.ts";

/**
 * Makes a system call by name, and tells the tracers.
 *
 * @param backend shim
 * @param name system call
 * @param args integers and addresses, at most six
 * @param describe its arguments for a trace; called only when someone listens
 * @returns the result, or `-errno`
 */
export function call(
  backend: SyscallBackend,
  name: keyof SyscallNumbers,
  args: readonly number[],
  describe: () => { readonly [name: string]: TraceValue },
): number {
  const number = syscallNumbers[backend.architecture][name];
  if (!isTracing()) return backend.syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
  const started = performance.now();
  const result = backend.syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
  const nanoseconds = Math.round((performance.now() - started) * 1e6);
  emitTrace(name, undefined, describe(), result, nanoseconds);
  return result;
}

/**
 * Memory the kernel may be pointed at: an array of its own (never a slice of a shared pool: a kernel overrun would
 * reach its neighbours), filled with zeros.
 *
 * @param length bytes; 0 gives one byte, so that there is an address
 */
export function kernelBuffer(length: number): Uint8Array {
  return new Uint8Array(new ArrayBuffer(Math.max(1, length)), 0, Math.max(1, length));
}

/**
 * Copies bytes into memory the kernel may be pointed at.
 *
 * @param bytes left as they are
 */
export function toKernel(bytes: Uint8Array): Uint8Array {
  const copy = kernelBuffer(bytes.length);
  copy.set(bytes);
  return copy;
}

let held: unknown;

/**
 * Keeps a value reachable up to this point. An address inside a `bpf_attr` does not keep its buffer alive, and the
 * optimiser drops a variable after its last use.
 *
 * @param value buffers in use by a call that has just returned
 */
export function keepAlive(value: unknown): void {
  held = value;
  held = undefined;
  void held;
}
