import { CallSource, Class, type Instruction, JumpOp } from "../asm/index.ts";
import { findHelper } from "../kernel-abi/index.ts";
import { type ProbeOptions, probeFeature } from "../syscall/features.ts";

const CALL = Class.jmp | JumpOp.call;

function number(name: string): number {
  return findHelper(name)!.number;
}

/**
 * Replaces helpers that older kernels lack by those they have in their place: `probe_read_kernel` and
 * `probe_read_user` by `probe_read`, and those for strings likewise (before Linux 5.5).
 *
 * @param instructions left as they are
 * @param options shim and token, to ask the kernel
 */
export function replaceMissingHelpers(
  instructions: readonly Instruction[],
  options: ProbeOptions,
): readonly Instruction[] {
  const replacements = new Map([
    [number("probe_read_kernel"), number("probe_read")],
    [number("probe_read_user"), number("probe_read")],
    [number("probe_read_kernel_str"), number("probe_read_str")],
    [number("probe_read_user_str"), number("probe_read_str")],
  ]);
  const affected = (insn: Instruction): boolean =>
    insn.opcode === CALL && insn.src === CallSource.helper && replacements.has(insn.imm);
  if (!instructions.some(affected) || probeFeature("probe_read_kernel", options) !== false) return instructions;
  return instructions.map((insn) => (affected(insn) ? { ...insn, imm: replacements.get(insn.imm)! } : insn));
}
