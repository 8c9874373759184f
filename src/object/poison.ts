import type { Instruction } from "../asm/index.ts";
import { layout } from "../asm/index.ts";
import type { ObjectSpec } from "../elf/index.ts";
import { externOrder, POISON_KFUNC, POISON_MAP } from "./externs.ts";

const CORE_POISON = 195896080;

/** A poisoned call in the log: the instruction, and the verifier's answer. Kernels of all ages call it unknown. */
const POISONED = /^(\d+): \([0-9a-f]{2}\) call unknown#(\d+)\n(?:.*\n)*?invalid func unknown#\2$/gm;

/**
 * Puts names into the kernel's log where it only has the numbers of instructions that were made invalid on purpose:
 * CO-RE relocations without an answer, maps that were not created, kernel functions that are not there.
 *
 * @param log the kernel's log
 * @param spec the object, whose maps and externs are numbered in their order
 * @param instructions of the program, as they were loaded
 */
export function nameInLog(log: string, spec: ObjectSpec, instructions: readonly Instruction[]): string {
  return log.replace(POISONED, (whole, slot: string, text: string) => {
    const number = Number(text);
    if (number === CORE_POISON) {
      const source = instructions[layout(instructions).indices[Number(slot)] ?? -1]?.meta?.source?.text ?? "";
      const reason = source.replace(/^instruction poisoned by CO-RE: /, "");
      return `${slot}: <invalid CO-RE relocation>\nfailed to resolve CO-RE relocation ${reason}`;
    }
    const map = Object.keys(spec.maps)[number - POISON_MAP];
    if (map !== undefined) {
      return `${slot}: <invalid BPF map reference>\nBPF map '${map}' is referenced but wasn't created`;
    }
    const extern = externOrder(spec)[number - POISON_KFUNC];
    if (extern !== undefined)
      return `${slot}: <invalid kfunc call>\nkfunc '${extern}' is referenced but wasn't resolved`;
    return whole;
  });
}
