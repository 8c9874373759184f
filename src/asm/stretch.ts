// Browser-safe.

import { distanceField, fault, NOWHERE } from "./distance.ts";
import type { AsmProblem } from "./errors.ts";
import { type Instruction, instruction, slotsOf, withMeta } from "./instruction.ts";
import { Class, JumpOp } from "./opcodes.ts";

/** Which instruction set a program may use: the levels of `clang -mcpu`. */
export type Cpu = "v1" | "v2" | "v3" | "v4";

/** How a jump is written: as it is, or with a `gotol` in place of 16 bits. */
const Form = { short: 0, long: 1 } as const;

/**
 * Writes all distances, after making every jump long that needs it.
 *
 * @param out the instructions, in an array that may be changed and returned
 * @param targets index of the instruction each one jumps to, calls or points at; {@link NOWHERE} for all others
 * @param cpu whether `gotol` may be used
 * @param problems receives jumps that are too far
 * @returns unchanged instructions are the same objects
 */
export function stretch(out: Instruction[], targets: Int32Array, cpu: Cpu, problems: AsmProblem[]): Instruction[] {
  const count = out.length;
  const form = new Uint8Array(count);
  const slots = new Int32Array(count + 1);
  // Making one jump long moves others apart, so this repeats until nothing changes. A long jump never becomes short
  // again, which is why it ends; programs need one or two rounds.
  for (let changed = true; changed; ) {
    changed = false;
    let at = 0;
    for (let i = 0; i < count; i++) {
      slots[i] = at;
      at += form[i] === Form.long ? longSlots(out[i]!) : slotsOf(out[i]!);
    }
    slots[count] = at;
    for (let i = 0; i < count; i++) {
      if (targets[i] === NOWHERE || form[i] === Form.long || distanceField(out[i]!) !== "offset") continue;
      const distance = slots[targets[i]!]! - slots[i]! - 1;
      if ((distance << 16) >> 16 === distance) continue;
      form[i] = Form.long;
      changed = true;
      if (cpu === "v4") continue;
      const insn = out[i]!;
      const goal = insn.meta?.reference === undefined ? "" : ` to "${insn.meta.reference}"`;
      const message = `Jump${goal} spans ${Math.abs(distance)} slots, more than 16 bits hold`;
      const hint = 'Use cpu "v4" (gotol, Linux 6.6), or bring the target nearer';
      problems.push(fault(insn, i, "ERR_ASM_RANGE", message, insn.meta?.reference ?? "", hint));
    }
    if (problems.length > 0) return out;
  }

  if (!form.includes(Form.long)) {
    for (let i = 0; i < count; i++) {
      const target = targets[i]!;
      if (target !== NOWHERE) out[i] = withDistance(out[i]!, slots[target]! - slots[i]! - 1);
    }
    return out;
  }
  const result: Instruction[] = [];
  for (let i = 0; i < count; i++) {
    const insn = out[i]!;
    const target = targets[i]!;
    if (target === NOWHERE) result.push(insn);
    else if (form[i] === Form.long) writeLong(result, insn, slots[i]!, slots[target]!);
    else result.push(withDistance(insn, slots[target]! - slots[i]! - 1));
  }
  return result;
}

/** The instruction with its distance written and its reference resolved; itself when nothing changes. */
function withDistance(insn: Instruction, distance: number): Instruction {
  const byOffset = distanceField(insn) === "offset";
  const now = withoutReference(insn);
  if (now === insn && (byOffset ? insn.offset : insn.imm) === distance) return insn;
  const { opcode, dst, src, high, meta } = now;
  return byOffset
    ? { opcode, dst, src, offset: distance, imm: insn.imm, high, meta }
    : { opcode, dst, src, offset: insn.offset, imm: distance, high, meta };
}

/** A resolved instruction refers to nothing any more. The common case, nothing but the reference, is the quick one. */
function withoutReference(insn: Instruction): Instruction {
  return insn.meta?.reference === undefined ? insn : withMeta(insn, { reference: undefined });
}

/** Slots of a jump in its long form. */
function longSlots(insn: Instruction): number {
  const op = insn.opcode & 0xf0;
  if (op === JumpOp.ja) return 1;
  return OPPOSITE[op] === undefined ? 3 : 2;
}

/** The condition that holds when another does not. `jset` and `may_goto` have none. */
const OPPOSITE: Readonly<Record<number, number>> = {
  [JumpOp.jeq]: JumpOp.jne,
  [JumpOp.jne]: JumpOp.jeq,
  [JumpOp.jgt]: JumpOp.jle,
  [JumpOp.jle]: JumpOp.jgt,
  [JumpOp.jge]: JumpOp.jlt,
  [JumpOp.jlt]: JumpOp.jge,
  [JumpOp.jsgt]: JumpOp.jsle,
  [JumpOp.jsle]: JumpOp.jsgt,
  [JumpOp.jsge]: JumpOp.jslt,
  [JumpOp.jslt]: JumpOp.jsge,
};

function writeLong(result: Instruction[], insn: Instruction, slot: number, target: number): void {
  const far = Class.jmp32 | JumpOp.ja;
  const meta = withoutReference(insn).meta;
  const op = insn.opcode & 0xf0;
  if (op === JumpOp.ja) {
    result.push(instruction(far, 0, 0, 0, target - slot - 1, 0, meta));
    return;
  }
  // Labels stay with the first instruction only; the source line belongs to all.
  const copy = meta?.source === undefined ? undefined : { source: meta.source };
  const opposite = OPPOSITE[op];
  if (opposite !== undefined) {
    result.push({ ...insn, opcode: (insn.opcode & 0x0f) | opposite, offset: 1, meta });
    result.push(instruction(far, 0, 0, 0, target - slot - 2, 0, copy));
    return;
  }
  result.push({ ...insn, offset: 1, meta });
  result.push(instruction(Class.jmp | JumpOp.ja, 0, 0, 1, 0, 0, copy));
  result.push(instruction(far, 0, 0, 0, target - slot - 3, 0, copy));
}
