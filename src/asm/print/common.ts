// Browser-safe.

import { toHex } from "../../bytes/hex.ts";
import { encode } from "../encode.ts";
import type { Instruction } from "../instruction.ts";
import { AluOp, AtomicOp, JumpOp } from "../opcodes.ts";

/** What printing one instruction needs to know besides the instruction. */
export interface PrintContext {
  /** Numbers in hexadecimal, where the style leaves a choice. */
  readonly hex: boolean;
  /** Helpers by name. */
  readonly helpers: boolean;
  /** Name of the place the instruction refers to, ready to be printed; `undefined`: print the distance. */
  readonly target: string | undefined;
}

/** `r0` to `r15`: the last five do not exist and are never printed, but a table of 16 needs no check. */
export const R: readonly string[] = Array.from({ length: 16 }, (_, i) => `r${i}`);
/** `w0` to `w15`. */
export const W: readonly string[] = Array.from({ length: 16 }, (_, i) => `w${i}`);

/** Names of sizes by the size bits shifted down: w, h, b, dw. */
export const UNSIGNED: readonly string[] = ["u32", "u16", "u8", "u64"];
/** The same, signed. */
export const SIGNED: readonly string[] = ["s32", "s16", "s8", "s64"];

function table(entries: readonly (readonly [number, string])[]): readonly string[] {
  const names = new Array<string>(16).fill("");
  for (const [op, name] of entries) names[op >> 4] = name;
  return names;
}

/** Operators of arithmetic by the high four bits of the opcode. */
export const ALU_OPERATORS: readonly string[] = /* @__PURE__ */ table([
  [AluOp.add, "+="],
  [AluOp.sub, "-="],
  [AluOp.mul, "*="],
  [AluOp.div, "/="],
  [AluOp.or, "|="],
  [AluOp.and, "&="],
  [AluOp.lsh, "<<="],
  [AluOp.rsh, ">>="],
  [AluOp.mod, "%="],
  [AluOp.xor, "^="],
  [AluOp.mov, "="],
  [AluOp.arsh, "s>>="],
]);

/** Comparisons by the high four bits of the opcode. */
export const COMPARISONS: readonly string[] = /* @__PURE__ */ table([
  [JumpOp.jeq, "=="],
  [JumpOp.jgt, ">"],
  [JumpOp.jge, ">="],
  [JumpOp.jset, "&"],
  [JumpOp.jne, "!="],
  [JumpOp.jsgt, "s>"],
  [JumpOp.jsge, "s>="],
  [JumpOp.jlt, "<"],
  [JumpOp.jle, "<="],
  [JumpOp.jslt, "s<"],
  [JumpOp.jsle, "s<="],
]);

/** Name and operator of the four simple atomic operations. */
export function simpleAtomic(op: number): readonly [name: string, operator: string] {
  switch (op) {
    case AtomicOp.add:
      return ["add", "+="];
    case AtomicOp.or:
      return ["or", "|="];
    case AtomicOp.and:
      return ["and", "&="];
    default:
      return ["xor", "^="];
  }
}

/** A number in decimal, or with its sign before `0x`. */
export function number(value: number, hex: boolean): string {
  if (!hex) return `${value}`;
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** A distance with its sign. */
export function distance(value: number, hex: boolean): string {
  return value < 0 ? number(value, hex) : `+${number(value, hex)}`;
}

/** The 64 bits of an `ld_imm64` as a signed number. */
export function signed64(low: number, high: number, hex: boolean): string {
  if (high === low >> 31) return number(low, hex);
  // Exact up to 53 bits; a bigint costs ten times as much.
  if (high >= -0x100000 && high < 0x100000) return number(high * 0x100000000 + (low >>> 0), hex);
  const value = (BigInt(high) << 32n) | BigInt(low >>> 0);
  if (!hex) return value.toString();
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** The 64 bits of an `ld_imm64` as an unsigned hexadecimal number. */
export function hex64(low: number, high: number): string {
  const lower = (low >>> 0).toString(16);
  return high === 0 ? `0x${lower}` : `0x${(high >>> 0).toString(16)}${lower.padStart(8, "0")}`;
}

/** The bytes of an instruction, whatever names it still refers to. */
export function bytesOf(insn: Instruction): Uint8Array {
  const secondSlot = insn.meta?.secondSlot;
  return encode([{ ...insn, meta: secondSlot === undefined ? undefined : { secondSlot } }]);
}

/** What is no instruction, as raw data that assembles to the same bytes. */
export function rawData(insn: Instruction): string {
  const bytes = bytesOf(insn);
  const words: string[] = [];
  for (let at = 0; at < bytes.length; at += 8) words.push(`0x${toHex(bytes.slice(at, at + 8).reverse())}`);
  return `.quad ${words.join(", ")}`;
}
