// Browser-safe.

import { ATOMIC_FETCH, AtomicOp } from "../asm/index.ts";
import type { Cpu } from "./cpu.ts";

/**
 * One atomic read-modify-write. The machine runs one program at a time, so that every one is atomic.
 *
 * @param cpu where it happens
 * @param dst register with the address
 * @param src register with the operand, which receives the old value of operations that fetch
 * @param detail the offset in its upper, the operation in its lower half
 * @param size 4 or 8 bytes
 * @throws MachineFault
 */
export function atomic(cpu: Cpu, dst: number, src: number, detail: number, size: 4 | 8): void {
  const { low, high, memory } = cpu;
  const offset = detail >> 16;
  const kind = detail & 0xffff;
  const address = cpu.readable(dst, offset, size);
  cpu.writable(dst, offset, size);
  const { view } = memory;
  const oldLow = view.getInt32(address, true);
  const oldHigh = size === 8 ? view.getInt32(address + 4, true) : 0;
  const a = low[src]!;
  const b = high[src]!;
  let newLow: number;
  let newHigh = 0;
  let receiver = (kind & ATOMIC_FETCH) !== 0 ? src : -1;
  switch (kind & ~ATOMIC_FETCH) {
    case AtomicOp.add:
      newLow = (oldLow + a) | 0;
      newHigh = oldHigh + b + (newLow >>> 0 < a >>> 0 ? 1 : 0);
      break;
    case AtomicOp.or:
      newLow = oldLow | a;
      newHigh = oldHigh | b;
      break;
    case AtomicOp.and:
      newLow = oldLow & a;
      newHigh = oldHigh & b;
      break;
    case AtomicOp.xor:
      newLow = oldLow ^ a;
      newHigh = oldHigh ^ b;
      break;
    case AtomicOp.xchg & ~ATOMIC_FETCH:
      newLow = a;
      newHigh = b;
      break;
    default: {
      // cmpxchg: r0 is what to compare with, and receives the old value either way.
      const same = oldLow === low[0] && (size === 4 || oldHigh === high[0]);
      newLow = same ? a : oldLow;
      newHigh = same ? b : oldHigh;
      receiver = 0;
    }
  }
  view.setInt32(address, newLow, true);
  if (size === 8) view.setInt32(address + 4, newHigh, true);
  if (receiver >= 0) {
    low[receiver] = oldLow;
    high[receiver] = oldHigh;
  }
}
