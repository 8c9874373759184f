import type { SyscallBackend } from "./backend.ts";
import { call, keepAlive, kernelBuffer } from "./call.ts";
import { type ProbeOptions, probeFeature } from "./features.ts";
import { kernelOlderThan } from "./host.ts";

const RLIMIT_MEMLOCK = 8;

const raised = new WeakSet<SyscallBackend>();

/**
 * Lifts the limit of locked memory (`RLIMIT_MEMLOCK`) for this process. Before Linux 5.11 maps and programs counted
 * against it, and 64 KiB, its usual value, are soon used up; since then they count against the memory cgroup, and this
 * does nothing. Does nothing either where it has been done before, or is not permitted: what then fails says so.
 *
 * @param options shim, token; whether the kernel is older than 5.11, which its version says by default
 * @returns whether the limit was lifted by this call
 */
export function raiseMemlock(
  options: ProbeOptions & { readonly backend: SyscallBackend; readonly older?: boolean | undefined },
): boolean {
  const { backend } = options;
  if (!(options.older ?? kernelOlderThan(5, 11)) || raised.has(backend)) return false;
  raised.add(backend);
  // Distributions have brought it to older kernels.
  if (probeFeature("memcg_account", options) === true) return false;
  const limits = kernelBuffer(16).fill(0xff);
  const result = call(backend, "prlimit64", [0, RLIMIT_MEMLOCK, backend.addressOf(limits), 0], () => ({
    pid: 0,
    resource: "RLIMIT_MEMLOCK",
    new_limit: "RLIM_INFINITY",
  }));
  keepAlive(limits);
  return result >= 0;
}
