import type { SyscallBackend } from "./backend.ts";
import { call, keepAlive, kernelBuffer } from "./call.ts";
import { SyscallError } from "./errors.ts";

const CLOCK_MONOTONIC = 1;
const CLOCK_BOOTTIME = 7;

/**
 * The clock of `bpf_ktime_get_ns`, in nanoseconds since boot without suspend. `process.hrtime` is the same clock on
 * Node only: Bun and Deno count from the start of the process.
 *
 * @param backend shim
 * @throws SyscallError
 */
export function monotonicTime(backend: SyscallBackend): bigint {
  return readClock(backend, CLOCK_MONOTONIC, "CLOCK_MONOTONIC");
}

/**
 * Time since boot with suspend, in nanoseconds: the clock by which the kernel notes when a program was loaded.
 *
 * @param backend shim
 * @throws SyscallError
 */
export function bootTime(backend: SyscallBackend): bigint {
  return readClock(backend, CLOCK_BOOTTIME, "CLOCK_BOOTTIME");
}

function readClock(backend: SyscallBackend, clock: number, name: string): bigint {
  const time = kernelBuffer(16);
  const args = [clock, backend.addressOf(time)];
  const result = call(backend, "clock_gettime", args, () => ({ clockid: name }));
  if (result < 0) throw new SyscallError("Cannot read the clock", "clock_gettime", result);
  const view = new DataView(time.buffer);
  const nanoseconds = view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true);
  keepAlive(time);
  return nanoseconds;
}
