// Browser-safe.

import { E2BIG, EINVAL } from "../maps/errno.ts";
import type { Helper } from "./call.ts";

/** Most iterations of `loop`. */
const MOST_LOOPS = 8 * 1024 * 1024;

/** Helpers that call back, and locks, which are free: the machine runs one program at a time. */
export const FLOW_HELPERS: Readonly<Record<string, Helper>> = {
  loop(call) {
    const count = call.u32(1);
    const context = call.u32(3);
    if (call.u64(4) !== 0n) return -EINVAL;
    if (count > MOST_LOOPS) return -E2BIG;
    if (count === 0) return 0;
    const { cpu } = call;
    let i = 0;
    call.callBack(2, [0, context], (result) => {
      i++;
      if (result === 0 && i < count) {
        call.arguments([i, context]);
        return true;
      }
      cpu.setResult(i);
      return false;
    });
    return 0;
  },
  spin_lock(call) {
    call.writable(1, 4);
  },
  spin_unlock(call) {
    call.writable(1, 4);
  },
};
