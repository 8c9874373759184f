// Browser-safe.

// Atomic operations of the C-like grammar: see c-style.ts.

import { AtomicOp, Class, Mode, Size } from "../opcodes.ts";
import { type Assembly, emit, fail } from "./assembly.ts";
import {
  address,
  memoryType,
  registerAndOffset,
  registerName,
  SIGNED,
  sameRegister,
  wholeTarget,
} from "./c-operands.ts";
import { AMPERSAND, BAR, CARET, CLOSE, COMMA, EQUALS, OPEN, PLUS, STAR } from "./characters.ts";
import { BAD_REGISTER, expect, expectRegister, expectWhole, HALF, peek, unexpected } from "./scan.ts";

/** `((u64 *)(r10 - 8), r1)` behind `atomic_fetch_add`; `atomic64_` allows u64 only. */
export function typedAtomic(s: Assembly, dst: number, op: number, only: number | undefined): boolean {
  s.at++;
  if (only === undefined) s.sawLlvmStyle = true;
  else s.sawKernelStyle = true;
  peek(s);
  const at = s.at;
  const size = memoryType(s);
  if (size < 0) return false;
  // The kernel prints "atomic_fetch_add" for 32 bits, LLVM for both.
  if ((size !== Size.w && size !== Size.dw) || (only !== undefined && size !== only)) {
    const wanted = only === undefined ? "u32 or u64" : only === Size.w ? "u32" : "u64";
    return fail(s, "ERR_ASM_OPERAND", `This operation has type ${wanted}`, at, s.at - at);
  }
  return address(s) && atomicOperands(s, dst, op, size);
}

/** `(r10 - 8, r1)` behind `xchg_64`. */
export function untypedAtomic(s: Assembly, dst: number, op: number, size: number): boolean {
  s.at++;
  s.sawLlvmStyle = true;
  return registerAndOffset(s) && atomicOperands(s, dst, op, size);
}

/** `, r0, r1)` of a compare and exchange, `, r1)` of the others. */
function atomicOperands(s: Assembly, dst: number, op: number, size: number): boolean {
  const { base, offset } = s;
  if (op === AtomicOp.cmpxchg) {
    if ((dst & 15) !== 0) {
      return fail(s, "ERR_ASM_OPERAND", `The old value goes to r0, not ${registerName(dst)}`, s.start, s.at - s.start);
    }
    const compared = atomicOperand(s, size);
    if (compared === BAD_REGISTER) return false;
    if (compared !== 0) {
      return fail(s, "ERR_ASM_OPERAND", `The value compared with is r0, not r${compared}`, s.nameAt, s.at - s.nameAt);
    }
  }
  const src = atomicOperand(s, size);
  if (src < 0) return false;
  if (op !== AtomicOp.cmpxchg && src !== (dst & 15)) return sameRegister(s, dst, src | (dst & HALF), s.nameAt);
  if (size === Size.dw && !wholeTarget(s, dst, s.start)) return false;
  return expect(s, CLOSE, "behind the operands") && emit(s, Class.stx | Mode.atomic | size, base, src, offset, op);
}

/** `, r1`: 32-bit operations may name either width. */
export function atomicOperand(s: Assembly, size: number): number {
  if (!expect(s, COMMA, "before the register")) return BAD_REGISTER;
  peek(s);
  s.nameAt = s.at;
  if (size === Size.dw) return expectWhole(s, "a register");
  const found = expectRegister(s, "a register");
  return found < 0 ? found : found & 15;
}

/** `r1 = load_acquire((u64 *)(r10 - 8))` */
export function loadAcquire(s: Assembly, dst: number): boolean {
  s.at++;
  const type = memoryType(s);
  if (type < 0) return false;
  if (type >= SIGNED) return fail(s, "ERR_ASM_OPERAND", "This operation has an unsigned type", s.start, s.at - s.start);
  if (!address(s) || !expect(s, CLOSE, "behind the address")) return false;
  if (type === Size.dw && !wholeTarget(s, dst, s.start)) return false;
  return emit(s, Class.stx | Mode.atomic | type, dst & 15, s.base, s.offset, AtomicOp.loadAcquire);
}

/** `store_release((u64 *)(r10 - 8), r1)` */
export function storeRelease(s: Assembly): boolean {
  if (!expect(s, OPEN, 'behind "store_release"')) return false;
  const type = memoryType(s);
  if (type < 0) return false;
  if (type >= SIGNED) return fail(s, "ERR_ASM_OPERAND", "This operation has an unsigned type", s.start, s.at - s.start);
  if (!address(s)) return false;
  const { base, offset } = s;
  const src = atomicOperand(s, type);
  if (src < 0 || !expect(s, CLOSE, "behind the register")) return false;
  return emit(s, Class.stx | Mode.atomic | type, base, src, offset, AtomicOp.storeRelease);
}

/** `lock *(u64 *)(r10 - 8) += r1` */
export function lock(s: Assembly): boolean {
  if (!expect(s, STAR, 'behind "lock"')) return false;
  const typeAt = s.at;
  const type = memoryType(s);
  if (type < 0) return false;
  if (type !== Size.w && type !== Size.dw) {
    return fail(s, "ERR_ASM_OPERAND", "An atomic operation has type u32 or u64", typeAt, s.at - typeAt);
  }
  if (!address(s)) return false;
  const { base, offset } = s;
  const c = peek(s);
  let op = -1;
  if (s.text.charCodeAt(s.at + 1) === EQUALS) {
    if (c === PLUS) op = AtomicOp.add;
    else if (c === BAR) op = AtomicOp.or;
    else if (c === AMPERSAND) op = AtomicOp.and;
    else if (c === CARET) op = AtomicOp.xor;
  }
  if (op < 0) return unexpected(s, '"+=", "|=", "&=" or "^="');
  s.at += 2;
  peek(s);
  const at = s.at;
  const src = expectRegister(s, "a register");
  if (src < 0 || (type === Size.dw && !wholeTarget(s, src, at))) return false;
  return emit(s, Class.stx | Mode.atomic | type, base, src & 15, offset, op);
}
