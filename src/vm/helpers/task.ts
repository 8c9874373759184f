// Browser-safe.

import { encodeUtf8 } from "../../bytes/index.ts";
import { EINVAL } from "../maps/errno.ts";
import type { Helper } from "./call.ts";

const COMM_SIZE = 16;
/** How far apart the coarse clock's times are: a tick of 250 Hz. */
const TICK = 4_000_000n;

/** Helpers that tell the time, the task, and other surroundings, all as the test has set them. */
export const TASK_HELPERS: Readonly<Record<string, Helper>> = {
  ktime_get_ns: (call) => call.run.world.clock(),
  ktime_get_boot_ns: (call) => call.run.world.clock(),
  ktime_get_tai_ns: (call) => call.run.world.clock(),
  ktime_get_coarse_ns: (call) => (call.run.world.clock() / TICK) * TICK,
  jiffies64: (call) => call.run.world.clock() / TICK,
  get_prandom_u32: (call) => call.run.world.random.next(),
  get_smp_processor_id: (call) => call.run.cpu,
  get_numa_node_id: () => 0,
  get_current_pid_tgid(call) {
    const { tgid, pid } = call.run.world.task;
    return (BigInt(tgid) << 32n) | BigInt(pid);
  },
  get_current_uid_gid(call) {
    const { uid, gid } = call.run.world.task;
    return (BigInt(gid) << 32n) | BigInt(uid);
  },
  get_current_comm(call) {
    const size = call.size(2);
    if (size === 0) return -EINVAL;
    const into = call.write(1, size).fill(0);
    into.set(encodeUtf8(call.run.world.task.comm).subarray(0, Math.min(size, COMM_SIZE) - 1));
    return 0;
  },
  get_current_cgroup_id: (call) => call.run.world.task.cgroupId,
  get_current_ancestor_cgroup_id: (call) => (call.s32(1) === 0 ? call.run.world.task.cgroupId : 0n),
  get_attach_cookie: (call) => call.run.cookie,
  get_retval: (call) => call.run.returnValue,
  set_retval(call) {
    const value = call.s32(1);
    // Errors only, as the kernel has it: anything else could pass for a descriptor.
    if (value !== 0 && !(value < 0 && value >= -4095)) return -EINVAL;
    call.run.returnValue = value;
    return 0;
  },
};
