// Browser-safe.

import {
  AluOp,
  Class,
  type Instruction,
  type InstructionMeta,
  type InstructionRelocation,
  instruction,
  JumpOp,
  LD_IMM64,
  Mode,
  Size,
  Source,
  type SourceLine,
  withMeta,
} from "../../asm/index.ts";
import { BtfError } from "../../errors.ts";
import { formatRelocation } from "./compute.ts";
import { coreError } from "./errors.ts";
import type { CoreFixup, CoreInstructionRelocation, CoreRelocation } from "./types.ts";

/**
 * Immediate of the call that stands for an instruction without an answer, as in libbpf: 0xbad2310, "bad relo". The
 * verifier calls it `invalid func unknown#195896080`.
 */
export const CORE_POISON = 195896080;

/** Makes what an instruction carries in `meta.relocation`. */
export function coreRelocation({ kind, type, access, order }: CoreRelocation): CoreInstructionRelocation {
  return { kind: "core", relocation: order === undefined ? { kind, type, access } : { kind, type, access, order } };
}

function isCore(relocation: InstructionRelocation | undefined): relocation is CoreInstructionRelocation {
  return relocation?.kind === "core";
}

/** The CO-RE relocations that instructions carry, in their order: what `computeFixups` takes. */
export function coreRelocationsOf(instructions: readonly Instruction[]): CoreRelocation[] {
  const found: CoreRelocation[] = [];
  for (const { meta } of instructions) if (isCore(meta?.relocation)) found.push(meta.relocation.relocation);
  return found;
}

/**
 * Puts an answer into an instruction: the immediate of arithmetic, the offset of a load or store together with its
 * width, or the 64 bits of an `ld_imm64`.
 *
 * @param insn left as it is
 * @param fixup the answer
 * @returns the instruction in its place, without its relocation. Two of them for a poisoned `ld_imm64`: each half is a
 *   call, because the verifier would complain about an unknown opcode in the second before it came to the first
 * @throws BtfError `ERR_CORE_RELOCATION` when the instruction is none that can hold the answer, or does not hold what
 *   it was compiled with
 */
export function applyFixup(insn: Instruction, fixup: CoreFixup): Instruction[] {
  if (fixup.poison) return poison(insn, fixup, fixup.reason ?? "not found");
  switch (insn.opcode & 0x07) {
    case Class.alu:
    case Class.alu64:
      return [applyToImmediate(insn, fixup)];
    case Class.ldx:
    case Class.st:
    case Class.stx:
      return applyToOffset(insn, fixup);
    case Class.ld:
      return [applyToWide(insn, fixup)];
    default:
      throw fail(fixup, `opcode 0x${insn.opcode.toString(16)} takes no relocation`);
  }
}

/**
 * Puts answers into all instructions that carry a CO-RE relocation. Numbers of slots stay as they are, so that jumps
 * keep their targets.
 *
 * @param instructions left as they are
 * @param fixups what `computeFixups` gave for their relocations
 * @throws BtfError as {@link applyFixup}, with the number of the instruction; `ERR_CORE_RELOCATION` when there is no
 *   answer for one
 *
 * @example
 * ```ts
 * import { load, r0, r1, withMeta } from "rawbpf/asm";
 * import { applyFixups, computeFixups, coreRelocation, coreRelocationsOf, createBtfBuilder } from "rawbpf/btf";
 *
 * const types = (bitOffset: number) => {
 *   const builder = createBtfBuilder();
 *   const int = builder.add({ kind: "int", name: "int", size: 4 });
 *   builder.add({ kind: "struct", name: "task", size: 64, members: [{ name: "pid", type: int, bitOffset }] });
 *   return builder.build();
 * };
 * const local = types(0);
 * const relocation = coreRelocation({ kind: "field_byte_offset", type: local.typeByName("task").id, access: "0:0" });
 * const code = [withMeta(load("u32", r0, r1, 0), { relocation })];
 * const fixups = computeFixups(coreRelocationsOf(code), local, [{ name: "vmlinux", btf: types(96) }]);
 * applyFixups(code, fixups)[0]?.offset; // 12
 * ```
 */
export function applyFixups(instructions: readonly Instruction[], fixups: readonly CoreFixup[]): Instruction[] {
  let find: ReturnType<typeof finder> | undefined;
  const out: Instruction[] = [];
  for (const [index, insn] of instructions.entries()) {
    const relocation = insn.meta?.relocation;
    if (!isCore(relocation)) {
      out.push(insn);
      continue;
    }
    find ??= finder(fixups);
    const fixup = find(relocation.relocation);
    if (fixup === undefined) {
      const { kind, type, access } = relocation.relocation;
      const path = `instruction[${index}]`;
      throw new BtfError("ERR_CORE_RELOCATION", `No answer for ${kind} of type [${type}], access ${access}`, { path });
    }
    try {
      out.push(...applyFixup(insn, fixup));
    } catch (error) {
      if (!(error instanceof BtfError) || error.path !== "") throw error;
      throw new BtfError("ERR_CORE_RELOCATION", error.message, { path: `instruction[${index}]`, cause: error });
    }
  }
  return out;
}

/** Finds answers. By type first: an object of 200 programs applies the same answers to each, so this must be cheap. */
function finder(fixups: readonly CoreFixup[]): (relocation: CoreRelocation) => CoreFixup | undefined {
  const byType = new Map<number, CoreFixup[]>();
  for (const fixup of fixups) {
    const list = byType.get(fixup.relocation.type);
    if (list === undefined) byType.set(fixup.relocation.type, [fixup]);
    else list.push(fixup);
  }
  return ({ kind, type, access }) =>
    byType.get(type)?.find(({ relocation }) => relocation.kind === kind && relocation.access === access);
}

function fail(fixup: CoreFixup, what: string): BtfError {
  return coreError("ERR_CORE_RELOCATION", `Cannot apply ${formatRelocation(fixup)}: ${what}`);
}

/**
 * Checks that an instruction holds what it was compiled with: else it was changed since, or the relocation is not its
 * own.
 *
 * @returns what it is to hold
 */
function checked(fixup: CoreFixup, what: string, found: bigint): bigint {
  const { before, after, relocation } = fixup;
  if (!fixup.checked || BigInt.asUintN(64, found) === BigInt.asUintN(64, before)) return after;
  // Enumerators of 2^31 and more in an enum without sign: some compilers extend the sign all the same, and BTF from
  // before Linux 6.0 does not tell which enums have one. As the program has it, so it stays.
  const extended = before <= 0xffffffffn && found === BigInt.asIntN(32, before);
  if (relocation.kind === "enumval_value" && extended) return after <= 0xffffffffn ? BigInt.asIntN(32, after) : after;
  throw fail(fixup, `the ${what} is ${found}, expected ${before}`);
}

function without(insn: Instruction): InstructionMeta | undefined {
  return withMeta(insn, { relocation: undefined }).meta;
}

function applyToImmediate(insn: Instruction, fixup: CoreFixup): Instruction {
  const { opcode, dst, src, offset, imm } = insn;
  if ((opcode & 0x08) !== Source.k || (opcode & 0xf0) === AluOp.end) {
    throw fail(fixup, `opcode 0x${opcode.toString(16)} has no immediate to change`);
  }
  const after = checked(fixup, "immediate", BigInt(imm));
  // A 64-bit operation extends the sign of its immediate; a 32-bit one cuts it off, so that any 32 bits will do. So
  // they will for the shifts of fields of more than 8 bytes, which mean nothing and are not read, as in libbpf.
  const any = (opcode & 0x07) === Class.alu || fixup.relocation.kind.endsWith("shift_u64");
  const most = any ? 0xffffffffn : 0x7fffffffn;
  if (after > most || after < -0x80000000n) throw fail(fixup, `${after} does not fit the immediate`);
  return instruction(opcode, dst, src, offset, Number(BigInt.asIntN(32, after)), 0, without(insn));
}

const SIZES: ReadonlyMap<number, number> = /* @__PURE__ */ new Map<number, number>([
  [1, Size.b],
  [2, Size.h],
  [4, Size.w],
  [8, Size.dw],
]);

function applyToOffset(insn: Instruction, fixup: CoreFixup): Instruction[] {
  const { opcode, dst, src, imm, high } = insn;
  const { memory } = fixup;
  const after = checked(fixup, "offset", BigInt(insn.offset));
  if (after > 0x7fffn || after < 0n) throw fail(fixup, `offset ${after} does not fit 16 bits`);
  let size = opcode & 0x18;
  // libbpf takes the size in the first of them.
  if (memory?.disputed !== undefined) {
    return poison(
      insn,
      fixup,
      `candidates agree on the offset, but have fields of ${memory.disputed.join(" and ")} bytes`,
    );
  }
  if (memory !== undefined && memory.before !== memory.after) {
    if (!memory.adjustable) {
      const sizes = `the field has ${sizeText(memory.before)} in the program and ${sizeText(memory.after)} in the kernel`;
      return poison(insn, fixup, `${sizes}, and is neither a pointer nor an unsigned integer in both`);
    }
    const wanted = SIZES.get(memory.before);
    if (size !== wanted) {
      const found = [...SIZES].find(([, bits]) => bits === size)![0];
      throw fail(fixup, `the instruction moves ${sizeText(found)}, the field has ${sizeText(memory.before)}`);
    }
    const adjusted = SIZES.get(memory.after);
    if (adjusted === undefined) throw fail(fixup, `no instruction moves the ${sizeText(memory.after)} of the field`);
    if (adjusted === Size.dw && (opcode & 0xe7) === (Mode.memsx | Class.ldx)) {
      return poison(insn, fixup, `no sign-extending load moves the ${sizeText(memory.after)} of the field`);
    }
    size = adjusted;
  }
  return [instruction((opcode & ~0x18) | size, dst, src, Number(after), imm, high, without(insn))];
}

function sizeText(size: number): string {
  return size === 0 ? "no whole bytes" : size === 1 ? "1 byte" : `${size} bytes`;
}

function applyToWide(insn: Instruction, fixup: CoreFixup): Instruction {
  const { opcode, dst, src, offset, imm, high, meta } = insn;
  if (opcode !== LD_IMM64 || src !== 0 || offset !== 0 || meta?.secondSlot !== undefined) {
    throw fail(fixup, "the instruction is no plain ld_imm64");
  }
  const after = checked(fixup, "immediate", (BigInt(high) << 32n) | BigInt.asUintN(32, BigInt(imm)));
  const low = Number(BigInt.asIntN(32, after));
  const upper = Number(BigInt.asIntN(32, after >> 32n));
  return instruction(opcode, dst, src, offset, low, upper, without(insn));
}

const CALL = Class.jmp | JumpOp.call;

function poison(insn: Instruction, fixup: CoreFixup, reason: string): Instruction[] {
  const { meta } = insn;
  const text = `instruction poisoned by CO-RE: ${formatRelocation(fixup)}: ${reason}`;
  const { file, line, column } = meta?.source ?? { file: "", line: 0, column: 0 };
  const source: SourceLine = { file, line, column, text };
  const first = instruction(CALL, 0, 0, 0, CORE_POISON, 0, { ...(meta?.labels && { labels: meta.labels }), source });
  if (insn.opcode !== LD_IMM64 || meta?.secondSlot === "missing") return [first];
  return [first, instruction(CALL, 0, 0, 0, CORE_POISON, 0, { source })];
}
