// Browser-safe.

import { divide, multiplyHigh } from "./arithmetic.ts";
import { atomic } from "./atomic.ts";
import type { Cpu } from "./cpu.ts";

// Permissions of four bytes at once; what the numbers mean is said in memory.ts.
const READ_1 = 0x01;
const READ_2 = 0x0101;
const READ_4 = 0x0101_0101;
const WRITE_1 = 0x02;
const WRITE_2 = 0x0202;
const WRITE_4 = 0x0202_0202;
const NEW_1 = 0x04;
const NEW_2 = 0x0404;
const NEW_4 = 0x0404_0404;
/** From `uninitialized` to `read`. */
const NEW_TO_READ = 2;

/**
 * Runs instructions until the program ends or so many were executed.
 *
 * Registers are two arrays of 32-bit halves, and one `switch` with literal cases does everything: V8 makes a jump table
 * of it. BigInt registers were measured at twice the time in V8 and ten times in JavaScriptCore. There are no hooks in
 * here: whoever wants to look on between instructions runs one at a time.
 *
 * Memory is read through a DataView, which asks for no alignment, after one look at the permissions of all bytes at
 * once. No access leaves the arrays: the last bytes of the memory have no permissions, and what is behind them faults.
 *
 * @param cpu registers, place and memory; `cpu.done` tells whether the program has ended
 * @param limit instructions
 * @returns instructions executed
 * @throws MachineFault; `cpu.pc` is the instruction then
 */
export function execute(cpu: Cpu, limit: number): number {
  const { memory } = cpu;
  let left = limit;
  while (!cpu.done) {
    // What a helper can change: the memory may have grown, another program may run.
    const { words, low: lo, high: hi } = cpu;
    const { bytes, view, plane, planeView } = memory;
    const last = bytes.length - 8;
    let pc = cpu.pc;
    run: for (;;) {
      if (left === 0) {
        cpu.pc = pc;
        return limit;
      }
      left--;
      const word = words[pc]!;
      const d = (word >>> 7) & 15;
      const s = word >>> 11;
      switch (word & 127) {
        case 0: // trap, behind the last instruction
          cpu.pc = pc;
          throw cpu.fault("the program has run past its last instruction");
        case 1: {
          // add64
          const sum = (lo[d]! + lo[s]!) | 0;
          hi[d] = hi[d]! + hi[s]! + (sum >>> 0 < lo[s]! >>> 0 ? 1 : 0);
          lo[d] = sum;
          break;
        }
        case 2: {
          // sub64
          const a = lo[d]!;
          const b = lo[s]!;
          hi[d] = hi[d]! - hi[s]! - (a >>> 0 < b >>> 0 ? 1 : 0);
          lo[d] = a - b;
          break;
        }
        case 3: {
          // mul64
          const a = lo[d]!;
          const b = lo[s]!;
          hi[d] = multiplyHigh(a, b) + Math.imul(a, hi[s]!) + Math.imul(hi[d]!, b);
          lo[d] = Math.imul(a, b);
          break;
        }
        case 4: // div64
          if ((hi[d]! | hi[s]!) === 0 && lo[s]! !== 0) lo[d] = (lo[d]! >>> 0) / (lo[s]! >>> 0);
          else divide(lo, hi, d, s, "div");
          break;
        case 5: // sdiv64
          divide(lo, hi, d, s, "sdiv");
          break;
        case 6: // mod64
          if ((hi[d]! | hi[s]!) === 0 && lo[s]! !== 0) lo[d] = (lo[d]! >>> 0) % (lo[s]! >>> 0);
          else divide(lo, hi, d, s, "mod");
          break;
        case 7: // smod64
          divide(lo, hi, d, s, "smod");
          break;
        case 8: // or64
          lo[d] = lo[d]! | lo[s]!;
          hi[d] = hi[d]! | hi[s]!;
          break;
        case 9: // and64
          lo[d] = lo[d]! & lo[s]!;
          hi[d] = hi[d]! & hi[s]!;
          break;
        case 10: // xor64
          lo[d] = lo[d]! ^ lo[s]!;
          hi[d] = hi[d]! ^ hi[s]!;
          break;
        case 11: {
          // lsh64
          const n = lo[s]! & 63;
          if (n >= 32) {
            hi[d] = lo[d]! << (n - 32);
            lo[d] = 0;
          } else if (n > 0) {
            hi[d] = (hi[d]! << n) | (lo[d]! >>> (32 - n));
            lo[d] = lo[d]! << n;
          }
          break;
        }
        case 12: {
          // rsh64
          const n = lo[s]! & 63;
          if (n >= 32) {
            lo[d] = hi[d]! >>> (n - 32);
            hi[d] = 0;
          } else if (n > 0) {
            lo[d] = (lo[d]! >>> n) | (hi[d]! << (32 - n));
            hi[d] = hi[d]! >>> n;
          }
          break;
        }
        case 13: {
          // arsh64
          const n = lo[s]! & 63;
          if (n >= 32) {
            lo[d] = hi[d]! >> (n - 32);
            hi[d] = hi[d]! >> 31;
          } else if (n > 0) {
            lo[d] = (lo[d]! >>> n) | (hi[d]! << (32 - n));
            hi[d] = hi[d]! >> n;
          }
          break;
        }
        case 14: // neg64
          hi[d] = ~hi[d]! + (lo[d]! === 0 ? 1 : 0);
          lo[d] = -lo[d]!;
          break;
        case 15: // mov64
          lo[d] = lo[s]!;
          hi[d] = hi[s]!;
          break;
        case 16: // movsx8
          lo[d] = (lo[s]! << 24) >> 24;
          hi[d] = lo[d]! >> 31;
          break;
        case 17: // movsx16
          lo[d] = (lo[s]! << 16) >> 16;
          hi[d] = lo[d]! >> 31;
          break;
        case 18: // movsx32
          lo[d] = lo[s]!;
          hi[d] = lo[d]! >> 31;
          break;
        case 19: // add32
          lo[d] = lo[d]! + lo[s]!;
          hi[d] = 0;
          break;
        case 20: // sub32
          lo[d] = lo[d]! - lo[s]!;
          hi[d] = 0;
          break;
        case 21: // mul32
          lo[d] = Math.imul(lo[d]!, lo[s]!);
          hi[d] = 0;
          break;
        case 22: // div32
          lo[d] = lo[s]! === 0 ? 0 : (lo[d]! >>> 0) / (lo[s]! >>> 0);
          hi[d] = 0;
          break;
        case 23: // sdiv32
          lo[d] = lo[s]! === 0 ? 0 : lo[d]! / lo[s]!;
          hi[d] = 0;
          break;
        case 24: // mod32
          if (lo[s]! !== 0) lo[d] = (lo[d]! >>> 0) % (lo[s]! >>> 0);
          hi[d] = 0;
          break;
        case 25: // smod32
          if (lo[s]! !== 0) lo[d] = lo[d]! % lo[s]!;
          hi[d] = 0;
          break;
        case 26: // or32
          lo[d] = lo[d]! | lo[s]!;
          hi[d] = 0;
          break;
        case 27: // and32
          lo[d] = lo[d]! & lo[s]!;
          hi[d] = 0;
          break;
        case 28: // xor32
          lo[d] = lo[d]! ^ lo[s]!;
          hi[d] = 0;
          break;
        case 29: // lsh32
          lo[d] = lo[d]! << lo[s]!;
          hi[d] = 0;
          break;
        case 30: // rsh32
          lo[d] = lo[d]! >>> lo[s]!;
          hi[d] = 0;
          break;
        case 31: // arsh32
          lo[d] = lo[d]! >> lo[s]!;
          hi[d] = 0;
          break;
        case 32: // neg32
          lo[d] = -lo[d]!;
          hi[d] = 0;
          break;
        case 33: // mov32
          lo[d] = lo[s]!;
          hi[d] = 0;
          break;
        case 34: // movsx8 into 32 bits
          lo[d] = (lo[s]! << 24) >> 24;
          hi[d] = 0;
          break;
        case 35: // movsx16 into 32 bits
          lo[d] = (lo[s]! << 16) >> 16;
          hi[d] = 0;
          break;
        case 36: // le16
          lo[d] = lo[d]! & 0xffff;
          hi[d] = 0;
          break;
        case 37: // le32
          hi[d] = 0;
          break;
        case 38: // le64
          break;
        case 39: // be16, bswap16
          lo[d] = ((lo[d]! & 0xff) << 8) | ((lo[d]! >> 8) & 0xff);
          hi[d] = 0;
          break;
        case 40: // be32, bswap32
          lo[d] = swap(lo[d]!);
          hi[d] = 0;
          break;
        case 41: {
          // be64, bswap64
          const low = lo[d]!;
          lo[d] = swap(hi[d]!);
          hi[d] = swap(low);
          break;
        }
        case 42: {
          // load8
          let a = (lo[s]! + words[pc + 1]!) | 0;
          if (hi[s]! !== 0 || a >>> 0 > last || (plane[a]! & READ_1) === 0) {
            cpu.pc = pc;
            a = cpu.readable(s, words[pc + 1]!, 1);
          }
          lo[d] = bytes[a]!;
          hi[d] = 0;
          break;
        }
        case 43: {
          // load16
          let a = (lo[s]! + words[pc + 1]!) | 0;
          if (hi[s]! !== 0 || a >>> 0 > last || (planeView.getUint16(a, true) & READ_2) !== READ_2) {
            cpu.pc = pc;
            a = cpu.readable(s, words[pc + 1]!, 2);
          }
          lo[d] = view.getUint16(a, true);
          hi[d] = 0;
          break;
        }
        case 44: {
          // load32
          let a = (lo[s]! + words[pc + 1]!) | 0;
          if (hi[s]! !== 0 || a >>> 0 > last || (planeView.getInt32(a, true) & READ_4) !== READ_4) {
            cpu.pc = pc;
            a = cpu.readable(s, words[pc + 1]!, 4);
          }
          lo[d] = view.getInt32(a, true);
          hi[d] = 0;
          break;
        }
        case 45: {
          // load64
          let a = (lo[s]! + words[pc + 1]!) | 0;
          if (
            hi[s]! !== 0 ||
            a >>> 0 > last ||
            (planeView.getInt32(a, true) & planeView.getInt32(a + 4, true) & READ_4) !== READ_4
          ) {
            cpu.pc = pc;
            a = cpu.readable(s, words[pc + 1]!, 8);
          }
          lo[d] = view.getInt32(a, true);
          hi[d] = view.getInt32(a + 4, true);
          break;
        }
        case 46: {
          // load8, sign-extended
          let a = (lo[s]! + words[pc + 1]!) | 0;
          if (hi[s]! !== 0 || a >>> 0 > last || (plane[a]! & READ_1) === 0) {
            cpu.pc = pc;
            a = cpu.readable(s, words[pc + 1]!, 1);
          }
          lo[d] = (bytes[a]! << 24) >> 24;
          hi[d] = lo[d]! >> 31;
          break;
        }
        case 47: {
          // load16, sign-extended
          let a = (lo[s]! + words[pc + 1]!) | 0;
          if (hi[s]! !== 0 || a >>> 0 > last || (planeView.getUint16(a, true) & READ_2) !== READ_2) {
            cpu.pc = pc;
            a = cpu.readable(s, words[pc + 1]!, 2);
          }
          lo[d] = view.getInt16(a, true);
          hi[d] = lo[d]! >> 31;
          break;
        }
        case 48: {
          // load32, sign-extended
          let a = (lo[s]! + words[pc + 1]!) | 0;
          if (hi[s]! !== 0 || a >>> 0 > last || (planeView.getInt32(a, true) & READ_4) !== READ_4) {
            cpu.pc = pc;
            a = cpu.readable(s, words[pc + 1]!, 4);
          }
          lo[d] = view.getInt32(a, true);
          hi[d] = lo[d]! >> 31;
          break;
        }
        case 49: {
          // store8
          let a = (lo[d]! + words[pc + 1]!) | 0;
          if (hi[d]! !== 0 || a >>> 0 > last || (plane[a]! & WRITE_1) === 0) {
            cpu.pc = pc;
            a = cpu.writable(d, words[pc + 1]!, 1);
          }
          if ((plane[a]! & NEW_1) !== 0) plane[a] = READ_1 | WRITE_1;
          bytes[a] = lo[s]!;
          break;
        }
        case 50: {
          // store16
          let a = (lo[d]! + words[pc + 1]!) | 0;
          if (hi[d]! !== 0 || a >>> 0 > last || (planeView.getUint16(a, true) & WRITE_2) !== WRITE_2) {
            cpu.pc = pc;
            a = cpu.writable(d, words[pc + 1]!, 2);
          }
          const p = planeView.getUint16(a, true);
          const fresh = p & NEW_2;
          if (fresh !== 0) planeView.setUint16(a, (p ^ fresh) | (fresh >>> NEW_TO_READ), true);
          view.setInt16(a, lo[s]!, true);
          break;
        }
        case 51: {
          // store32
          let a = (lo[d]! + words[pc + 1]!) | 0;
          if (hi[d]! !== 0 || a >>> 0 > last || (planeView.getInt32(a, true) & WRITE_4) !== WRITE_4) {
            cpu.pc = pc;
            a = cpu.writable(d, words[pc + 1]!, 4);
          }
          const p = planeView.getInt32(a, true);
          const fresh = p & NEW_4;
          if (fresh !== 0) planeView.setInt32(a, (p ^ fresh) | (fresh >>> NEW_TO_READ), true);
          view.setInt32(a, lo[s]!, true);
          break;
        }
        case 52: {
          // store64
          let a = (lo[d]! + words[pc + 1]!) | 0;
          if (
            hi[d]! !== 0 ||
            a >>> 0 > last ||
            (planeView.getInt32(a, true) & planeView.getInt32(a + 4, true) & WRITE_4) !== WRITE_4
          ) {
            cpu.pc = pc;
            a = cpu.writable(d, words[pc + 1]!, 8);
          }
          const p = planeView.getInt32(a, true);
          const q = planeView.getInt32(a + 4, true);
          if (((p | q) & NEW_4) !== 0) {
            planeView.setInt32(a, (p & ~NEW_4) | ((p & NEW_4) >>> NEW_TO_READ), true);
            planeView.setInt32(a + 4, (q & ~NEW_4) | ((q & NEW_4) >>> NEW_TO_READ), true);
          }
          view.setInt32(a, lo[s]!, true);
          view.setInt32(a + 4, hi[s]!, true);
          break;
        }
        case 53: // atomic32
          cpu.pc = pc;
          atomic(cpu, d, s, words[pc + 1]!, 4);
          break;
        case 54: // atomic64
          cpu.pc = pc;
          atomic(cpu, d, s, words[pc + 1]!, 8);
          break;
        case 55: // ja, gotol
          pc = words[pc + 1]!;
          continue;
        case 56: // jeq64
          if (lo[d]! === lo[s]! && hi[d]! === hi[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 57: // jne64
          if (lo[d]! !== lo[s]! || hi[d]! !== hi[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 58: // jgt64
          if (hi[d]! === hi[s]! ? lo[d]! >>> 0 > lo[s]! >>> 0 : hi[d]! >>> 0 > hi[s]! >>> 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 59: // jge64
          if (hi[d]! === hi[s]! ? lo[d]! >>> 0 >= lo[s]! >>> 0 : hi[d]! >>> 0 > hi[s]! >>> 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 60: // jlt64
          if (hi[d]! === hi[s]! ? lo[d]! >>> 0 < lo[s]! >>> 0 : hi[d]! >>> 0 < hi[s]! >>> 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 61: // jle64
          if (hi[d]! === hi[s]! ? lo[d]! >>> 0 <= lo[s]! >>> 0 : hi[d]! >>> 0 < hi[s]! >>> 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 62: // jset64
          if (((lo[d]! & lo[s]!) | (hi[d]! & hi[s]!)) !== 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 63: // jsgt64
          if (hi[d]! === hi[s]! ? lo[d]! >>> 0 > lo[s]! >>> 0 : hi[d]! > hi[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 64: // jsge64
          if (hi[d]! === hi[s]! ? lo[d]! >>> 0 >= lo[s]! >>> 0 : hi[d]! > hi[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 65: // jslt64
          if (hi[d]! === hi[s]! ? lo[d]! >>> 0 < lo[s]! >>> 0 : hi[d]! < hi[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 66: // jsle64
          if (hi[d]! === hi[s]! ? lo[d]! >>> 0 <= lo[s]! >>> 0 : hi[d]! < hi[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 67: // jeq32
          if (lo[d]! === lo[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 68: // jne32
          if (lo[d]! !== lo[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 69: // jgt32
          if (lo[d]! >>> 0 > lo[s]! >>> 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 70: // jge32
          if (lo[d]! >>> 0 >= lo[s]! >>> 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 71: // jlt32
          if (lo[d]! >>> 0 < lo[s]! >>> 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 72: // jle32
          if (lo[d]! >>> 0 <= lo[s]! >>> 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 73: // jset32
          if ((lo[d]! & lo[s]!) !== 0) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 74: // jsgt32
          if (lo[d]! > lo[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 75: // jsge32
          if (lo[d]! >= lo[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 76: // jslt32
          if (lo[d]! < lo[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 77: // jsle32
          if (lo[d]! <= lo[s]!) {
            pc = words[pc + 1]!;
            continue;
          }
          break;
        case 78: // may_goto
          if (cpu.iterationsLeft === 0) {
            pc = words[pc + 1]!;
            continue;
          }
          cpu.iterationsLeft--;
          break;
        case 79: // gotox
          cpu.pc = pc;
          pc = cpu.instructionAt(lo[d]!, hi[d]!);
          continue;
        case 80: // call of a helper
          cpu.pc = pc;
          cpu.callHelper(words[pc + 1]!);
          break run;
        case 81: // call of a function of the program
          cpu.pc = pc;
          cpu.enter(words[pc + 1]!, undefined);
          pc = cpu.pc;
          continue;
        case 82: // call of a function of the kernel
          cpu.pc = pc;
          cpu.callKfunc(words[pc + 1]!);
          break run;
        case 83: // exit
          cpu.pc = pc;
          cpu.leave();
          break run;
        case 84: // ld_abs
        case 85: // ld_ind
          cpu.pc = pc;
          if (!cpu.packetLoad(words[pc + 1]!, (word & 127) === 85 ? s : -1, d)) break run;
          break;
        case 86: // addr_space_cast: one flat space, in which arenas have low addresses for everybody
          lo[d] = lo[s]!;
          hi[d] = 0;
          break;
      }
      pc += 2;
    }
  }
  return limit - left;
}

function swap(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
