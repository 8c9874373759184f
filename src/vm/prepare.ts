// Browser-safe.

import { type AluName, type Instruction, type JumpName, layout, operation, printInstruction } from "../asm/index.ts";
import { BpfError } from "../errors.ts";
import { CODE_ADDRESSES } from "./memory.ts";

/**
 * Operations of the interpreter, dense from 0 so that its `switch` becomes a jump table. Arithmetic and jumps have one
 * form only: an immediate lies in a register of its own, behind the machine's eleven.
 *
 * The interpreter repeats the numbers, because only literals become a table.
 */
export const Op = {
  trap: 0,
  add64: 1,
  sub64: 2,
  mul64: 3,
  div64: 4,
  sdiv64: 5,
  mod64: 6,
  smod64: 7,
  or64: 8,
  and64: 9,
  xor64: 10,
  lsh64: 11,
  rsh64: 12,
  arsh64: 13,
  neg64: 14,
  mov64: 15,
  movsx8: 16,
  movsx16: 17,
  movsx32: 18,
  add32: 19,
  sub32: 20,
  mul32: 21,
  div32: 22,
  sdiv32: 23,
  mod32: 24,
  smod32: 25,
  or32: 26,
  and32: 27,
  xor32: 28,
  lsh32: 29,
  rsh32: 30,
  arsh32: 31,
  neg32: 32,
  mov32: 33,
  movsx8w: 34,
  movsx16w: 35,
  low16: 36,
  low32: 37,
  nop: 38,
  swap16: 39,
  swap32: 40,
  swap64: 41,
  load8: 42,
  load16: 43,
  load32: 44,
  load64: 45,
  loads8: 46,
  loads16: 47,
  loads32: 48,
  store8: 49,
  store16: 50,
  store32: 51,
  store64: 52,
  atomic32: 53,
  atomic64: 54,
  ja: 55,
  jeq64: 56,
  jne64: 57,
  jgt64: 58,
  jge64: 59,
  jlt64: 60,
  jle64: 61,
  jset64: 62,
  jsgt64: 63,
  jsge64: 64,
  jslt64: 65,
  jsle64: 66,
  jeq32: 67,
  jne32: 68,
  jgt32: 69,
  jge32: 70,
  jlt32: 71,
  jle32: 72,
  jset32: 73,
  jsgt32: 74,
  jsge32: 75,
  jslt32: 76,
  jsle32: 77,
  mayGoto: 78,
  gotox: 79,
  callHelper: 80,
  callLocal: 81,
  callKfunc: 82,
  exit: 83,
  packetLoad: 84,
  packetLoadIndirect: 85,
  cast: 86,
} as const;

/**
 * Words of code for each instruction: one has the operation in 7 bits, the destination in 4, the source in the rest,
 * the other an offset, target or number: fewer loads than with a word for each.
 */
export const WORDS = 2;

/** Registers before those that hold immediates. */
export const FIRST_CONSTANT = 16;

/** A program in the form that the interpreter runs. */
export interface Code {
  /** {@link WORDS} for each instruction, and a trap behind the last. */
  readonly words: Int32Array;
  /** First values of all registers, low halves: immediates from {@link FIRST_CONSTANT} on. */
  readonly low: Int32Array;
  /** High halves. */
  readonly high: Int32Array;
  /** The instructions, linked. */
  readonly instructions: readonly Instruction[];
  /** Slot of each instruction. */
  readonly slots: Int32Array;
  /** Index of the instruction at each slot; -1 in the middle of an `ld_imm64`. */
  readonly indices: Int32Array;
}

/** What the `ld_imm64` of a map becomes. */
export interface MapAddresses {
  /** Pointer to the map with a number. `undefined` when there is none. */
  pointer(fd: number): number | undefined;
  /** Address inside of its only value. `undefined` when it has none. */
  value(fd: number): number | undefined;
}

const ALU: { readonly [name in AluName]: number } = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  sdiv: 4,
  mod: 5,
  smod: 6,
  or: 7,
  and: 8,
  xor: 9,
  lsh: 10,
  rsh: 11,
  arsh: 12,
};
const JUMPS: { readonly [name in JumpName]: number } = {
  jeq: 0,
  jne: 1,
  jgt: 2,
  jge: 3,
  jlt: 4,
  jle: 5,
  jset: 6,
  jsgt: 7,
  jsge: 8,
  jslt: 9,
  jsle: 10,
};
const LOADS = { 1: Op.load8, 2: Op.load16, 4: Op.load32, 8: Op.load64 } as const;
const SIGNED_LOADS = { 1: Op.loads8, 2: Op.loads16, 4: Op.loads32 } as const;
const STORES = { 1: Op.store8, 2: Op.store16, 4: Op.store32, 8: Op.store64 } as const;
const FRAME_POINTER = 10;

/**
 * Translates a program, once, into what the interpreter runs.
 *
 * @param instructions linked
 * @param maps where maps are
 * @param name of the program, for messages
 * @throws BpfError `ERR_VM_PROGRAM` for what is no instruction, jumps to nowhere, writes the frame pointer, or refers to
 *   a map that is not there
 */
export function prepare(instructions: readonly Instruction[], maps: MapAddresses, name: string): Code {
  const count = instructions.length;
  const label = name === "" ? "the program" : `program "${name}"`;
  if (count === 0) throw new BpfError("ERR_VM_PROGRAM", `Cannot load ${label}: it has no instructions`);
  const place = layout(instructions);
  const words = new Int32Array((count + 1) * WORDS);
  const constants: [number, number][] = [];
  const known = new Map<string, number>();

  const refuse = (index: number, reason: string): never => {
    const text = printInstruction(instructions[index]!);
    throw new BpfError("ERR_VM_PROGRAM", `Cannot load ${label}: ${reason} (instruction ${index}: ${text})`);
  };
  const constant = (low: number, high: number): number => {
    const key = `${low},${high}`;
    let at = known.get(key);
    if (at === undefined) {
      at = FIRST_CONSTANT + constants.length;
      constants.push([low, high]);
      known.set(key, at);
    }
    return at;
  };
  /** The register that holds an operand. */
  const operand = (src: number | undefined, imm: number): number => src ?? constant(imm, imm >> 31);

  for (let i = 0; i < count; i++) {
    const insn = instructions[i]!;
    const next = place.slots[i + 1]!;
    const put = (op: number, dst: number, src: number, extra: number): void => {
      const at = i * WORDS;
      words[at] = op | (dst << 7) | (src << 11);
      words[at + 1] = extra;
    };
    /** Place in the code of a slot so far behind the next. */
    const target = (distance: number): number => {
      const index = place.indices[next + distance] ?? -1;
      if (index < 0) refuse(i, `it leads to slot ${next + distance}, where no instruction begins`);
      return index * WORDS;
    };
    const writable = (dst: number): number => {
      if (dst === FRAME_POINTER) refuse(i, "frame pointer is read only");
      return dst;
    };
    const o = operation(insn);
    switch (o.kind) {
      case "alu":
        put((o.width === 64 ? Op.add64 : Op.add32) + ALU[o.op], writable(o.dst), operand(o.src, o.imm), 0);
        break;
      case "neg":
        put(o.width === 64 ? Op.neg64 : Op.neg32, writable(o.dst), 0, 0);
        break;
      case "mov":
        put(o.width === 64 ? Op.mov64 : Op.mov32, writable(o.dst), operand(o.src, o.imm), 0);
        break;
      case "movsx": {
        const wide = o.from === 8 ? Op.movsx8 : o.from === 16 ? Op.movsx16 : Op.movsx32;
        put(o.width === 64 ? wide : o.from === 8 ? Op.movsx8w : Op.movsx16w, writable(o.dst), o.src, 0);
        break;
      }
      case "endian": {
        // The machine is little-endian: converting to little endian only cuts off.
        const cut = o.bits === 16 ? Op.low16 : o.bits === 32 ? Op.low32 : Op.nop;
        const swap = o.bits === 16 ? Op.swap16 : o.bits === 32 ? Op.swap32 : Op.swap64;
        put(o.op === "le" ? cut : swap, writable(o.dst), 0, 0);
        break;
      }
      case "load":
      case "load-acquire":
        put(LOADS[o.bytes], writable(o.dst), o.src, o.offset);
        break;
      case "load-signed":
        put(SIGNED_LOADS[o.bytes], writable(o.dst), o.src, o.offset);
        break;
      case "store":
      case "store-release":
        put(STORES[o.bytes], o.dst, o.src, o.offset);
        break;
      case "store-imm":
        put(STORES[o.bytes], o.dst, operand(undefined, o.imm), o.offset);
        break;
      case "atomic":
        if (o.fetch && o.op !== "cmpxchg") writable(o.src);
        // What to do stays in the immediate: it is rare enough to be taken apart when it runs.
        put(o.bytes === 4 ? Op.atomic32 : Op.atomic64, o.dst, o.src, (o.offset << 16) | insn.imm);
        break;
      case "goto":
      case "gotol":
        put(Op.ja, 0, 0, target(o.offset));
        break;
      case "jump":
        put((o.width === 64 ? Op.jeq64 : Op.jeq32) + JUMPS[o.op], o.dst, operand(o.src, o.imm), target(o.offset));
        break;
      case "may-goto":
        put(Op.mayGoto, 0, 0, target(o.offset));
        break;
      case "gotox":
        put(Op.gotox, o.register, 0, 0);
        break;
      case "call-helper":
        put(Op.callHelper, 0, 0, o.helper);
        break;
      case "call-local":
        put(Op.callLocal, 0, 0, target(o.offset));
        break;
      case "call-kfunc":
        put(Op.callKfunc, 0, 0, o.btfId);
        break;
      case "exit":
        put(Op.exit, 0, 0, 0);
        break;
      case "packet-load":
        if (o.src === undefined) put(Op.packetLoad, o.bytes, 0, o.imm);
        else put(Op.packetLoadIndirect, o.bytes, o.src, o.imm);
        break;
      case "addr-space-cast":
        put(Op.cast, writable(o.dst), o.src, 0);
        break;
      case "ld-imm64": {
        writable(o.dst);
        let { low, high } = o;
        if (o.pseudo === "function") {
          // Counted from its second slot, not from behind it.
          const slot = place.slots[i]! + 1 + low;
          if ((place.indices[slot] ?? -1) < 0) refuse(i, `it names slot ${slot}, where no instruction begins`);
          low = (CODE_ADDRESSES + slot * 8) | 0;
          high = 0;
        } else if (o.pseudo === "map-fd") {
          const pointer = maps.pointer(low);
          if (pointer === undefined) refuse(i, `the machine has no map with number ${low}`);
          low = pointer!;
          high = 0;
        } else if (o.pseudo === "map-value") {
          const value = maps.value(low);
          if (value === undefined) refuse(i, `the map with number ${low} has no value of its own`);
          low = (value! + high) | 0;
          high = 0;
        } else if (o.pseudo !== "immediate") {
          refuse(i, `the machine has nothing that an ld_imm64 of kind ${o.pseudo} could mean`);
        } else if (insn.meta?.reference !== undefined) {
          refuse(i, `"${insn.meta.reference}" was not resolved`);
        }
        put(Op.mov64, o.dst, constant(low, high), 0);
        break;
      }
      case "callx":
        refuse(i, "calls through registers are no part of BPF as kernels run it");
        break;
      case "mov-percpu":
        refuse(i, "only the kernel itself makes this instruction");
        break;
      case "invalid":
        refuse(i, o.reason);
        break;
      default:
        o satisfies never;
    }
  }
  const low = new Int32Array(FIRST_CONSTANT + constants.length);
  const high = new Int32Array(FIRST_CONSTANT + constants.length);
  for (const [i, [l, h]] of constants.entries()) {
    low[FIRST_CONSTANT + i] = l;
    high[FIRST_CONSTANT + i] = h;
  }
  return { words, low, high, instructions, slots: place.slots, indices: place.indices };
}
