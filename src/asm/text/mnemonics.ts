// Browser-safe.

import { AluOp, ATOMIC_FETCH, AtomicOp, Class, DivisionOffset, JumpOp, Mode, Size, Source } from "../opcodes.ts";
import { type WordTable, wordTable } from "./words.ts";

/** Which operands a mnemonic takes. */
export const Shape = {
  /** `add %r1, %r2` or `add %r1, 5`; extra: offset */
  alu: 0,
  /** `neg %r1` */
  neg: 1,
  /** `be16 %r1`; extra: bits */
  swap: 2,
  /** `endbe %r1, 16` */
  swapBits: 3,
  /** `movsx864 %r1, %r2`; extra: bits extended */
  signExtend: 4,
  /** `movs %r1, %r2, 8` */
  signExtendBits: 5,
  /** `ldxw %r1, [%r2+4]`; extra: immediate */
  load: 6,
  /** `stw [%r1+4], 5` */
  storeImmediate: 7,
  /** `stxw [%r1+4], %r2`; extra: immediate */
  store: 8,
  /** `lddw %r1, 5` */
  wide: 9,
  /** `jeq %r1, 5, +3` */
  branch: 10,
  /** `ja +3` */
  jump: 11,
  /** `ja32 +3` */
  longJump: 12,
  /** `call 1` */
  call: 13,
  /** `gotox %r1` */
  register: 14,
  /** `callx %r1` */
  callx: 15,
  /** `exit` */
  none: 16,
  /** `ldabsw 12` */
  absolute: 17,
  /** `ldindw %r2, 12` */
  indirect: 18,
  /** `lock add [%r1+8], %r2` */
  lock: 19,
  /** `addr_space_cast %r1, %r2, 0, 1` */
  addressSpaceCast: 20,
  /** `mov_percpu %r1, %r2` */
  percpu: 21,
} as const;

interface Mnemonic {
  readonly word: string;
  readonly shape: number;
  readonly opcode: number;
  readonly extra: number;
}

const SIZES = [
  ["b", Size.b],
  ["h", Size.h],
  ["w", Size.w],
  ["dw", Size.dw],
] as const;

const ALU: readonly (readonly [string, number, number])[] = [
  ["add", AluOp.add, 0],
  ["sub", AluOp.sub, 0],
  ["mul", AluOp.mul, 0],
  ["div", AluOp.div, 0],
  ["or", AluOp.or, 0],
  ["and", AluOp.and, 0],
  ["lsh", AluOp.lsh, 0],
  ["rsh", AluOp.rsh, 0],
  ["mod", AluOp.mod, 0],
  ["xor", AluOp.xor, 0],
  ["mov", AluOp.mov, 0],
  ["arsh", AluOp.arsh, 0],
  ["sdiv", AluOp.div, DivisionOffset.signed],
  ["smod", AluOp.mod, DivisionOffset.signed],
];

const JUMPS = ["jeq", "jne", "jgt", "jge", "jlt", "jle", "jset", "jsgt", "jsge", "jslt", "jsle"] as const;

const ATOMICS: readonly (readonly [string, string, number])[] = [
  ["aadd", "afadd", AtomicOp.add],
  ["aor", "afor", AtomicOp.or],
  ["aand", "afand", AtomicOp.and],
  ["axor", "afxor", AtomicOp.xor],
];

function all(): Mnemonic[] {
  const list: Mnemonic[] = [];
  const add = (word: string, shape: number, opcode: number, extra = 0): void => {
    list.push({ word, shape, opcode, extra });
  };
  // A suffix says the width, 64 when there is none.
  const WIDTHS = [
    ["", Class.alu64, Class.jmp, Size.dw],
    ["64", Class.alu64, Class.jmp, Size.dw],
    ["32", Class.alu, Class.jmp32, Size.w],
  ] as const;
  for (const [suffix, alu, jmp, size] of WIDTHS) {
    for (const [name, op, offset] of ALU) add(name + suffix, Shape.alu, alu | op, offset);
    add(`neg${suffix}`, Shape.neg, alu | AluOp.neg);
    add(`movs${suffix}`, Shape.signExtendBits, alu | AluOp.mov | Source.x);
    for (const name of JUMPS) add(name + suffix, Shape.branch, jmp | JumpOp[name]);
    // As GNU as writes atomics.
    for (const [plain, fetch, op] of ATOMICS) {
      add(plain + suffix, Shape.store, Class.stx | Mode.atomic | size, op);
      add(fetch + suffix, Shape.store, Class.stx | Mode.atomic | size, op | ATOMIC_FETCH);
    }
    add(`axchg${suffix}`, Shape.store, Class.stx | Mode.atomic | size, AtomicOp.xchg);
    add(`acmp${suffix}`, Shape.store, Class.stx | Mode.atomic | size, AtomicOp.cmpxchg);
  }
  for (const bits of [16, 32, 64]) {
    add(`le${bits}`, Shape.swap, Class.alu | AluOp.end, bits);
    add(`be${bits}`, Shape.swap, Class.alu | AluOp.end | Source.x, bits);
    add(`bswap${bits}`, Shape.swap, Class.alu64 | AluOp.end, bits);
    add(`swap${bits}`, Shape.swap, Class.alu64 | AluOp.end, bits);
  }
  add("endle", Shape.swapBits, Class.alu | AluOp.end);
  add("endbe", Shape.swapBits, Class.alu | AluOp.end | Source.x);
  add("bswap", Shape.swapBits, Class.alu64 | AluOp.end);
  for (const bits of [8, 16, 32]) {
    add(`movsx${bits}64`, Shape.signExtend, Class.alu64 | AluOp.mov | Source.x, bits);
    if (bits < 32) add(`movsx${bits}32`, Shape.signExtend, Class.alu | AluOp.mov | Source.x, bits);
  }
  for (const [suffix, size] of SIZES) {
    add(`ldx${suffix}`, Shape.load, Class.ldx | Mode.mem | size);
    add(`st${suffix}`, Shape.storeImmediate, Class.st | Mode.mem | size);
    add(`stx${suffix}`, Shape.store, Class.stx | Mode.mem | size);
    add(`ldacq${suffix}`, Shape.load, Class.stx | Mode.atomic | size, AtomicOp.loadAcquire);
    add(`strel${suffix}`, Shape.store, Class.stx | Mode.atomic | size, AtomicOp.storeRelease);
    if (size !== Size.dw) {
      add(`ldxs${suffix}`, Shape.load, Class.ldx | Mode.memsx | size);
      add(`ldabs${suffix}`, Shape.absolute, Class.ld | Mode.abs | size);
      add(`ldind${suffix}`, Shape.indirect, Class.ld | Mode.ind | size);
    }
    if (size === Size.w || size === Size.dw) {
      // Older GNU as, and rbpf.
      add(`xadd${suffix}`, Shape.store, Class.stx | Mode.atomic | size, AtomicOp.add);
      add(`stxxadd${suffix}`, Shape.store, Class.stx | Mode.atomic | size, AtomicOp.add);
    }
  }
  add("lddw", Shape.wide, 0x18);
  add("ja", Shape.jump, Class.jmp | JumpOp.ja);
  add("ja32", Shape.longJump, Class.jmp32 | JumpOp.ja);
  add("jal", Shape.longJump, Class.jmp32 | JumpOp.ja);
  add("jcond", Shape.jump, Class.jmp | JumpOp.jcond);
  add("may_goto", Shape.jump, Class.jmp | JumpOp.jcond);
  add("call", Shape.call, Class.jmp | JumpOp.call);
  add("callx", Shape.callx, Class.jmp | JumpOp.call | Source.x);
  add("gotox", Shape.register, Class.jmp | JumpOp.ja | Source.x);
  add("exit", Shape.none, Class.jmp | JumpOp.exit);
  add("nop", Shape.none, Class.jmp | JumpOp.ja);
  add("lock", Shape.lock, Class.stx | Mode.atomic);
  add("addr_space_cast", Shape.addressSpaceCast, Class.alu64 | AluOp.mov | Source.x);
  add("mov_percpu", Shape.percpu, Class.alu64 | AluOp.mov | Source.x);
  return list;
}

/** The mnemonics and, by the same index, what they stand for. Flat arrays, because the hot path reads them. */
export interface Mnemonics extends WordTable {
  /** One of {@link Shape}. */
  readonly shapes: Uint8Array;
  readonly opcodes: Uint8Array;
  /** See {@link Shape}. */
  readonly extras: Int32Array;
}

/** Every mnemonic. */
export const MNEMONICS: Mnemonics = /* @__PURE__ */ (() => {
  const list = all();
  return {
    ...wordTable(list.map((entry) => entry.word)),
    shapes: Uint8Array.from(list, (entry) => entry.shape),
    opcodes: Uint8Array.from(list, (entry) => entry.opcode),
    extras: Int32Array.from(list, (entry) => entry.extra),
  };
})();
