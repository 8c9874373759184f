import { createHash } from "node:crypto";
import { encode, type Instruction, LD_IMM64, link, PseudoSource } from "../asm/index.ts";

const TAG_BYTES = 8;

/** Hash that makes a tag: `sha256` from Linux 6.18, `sha1` before. */
export type TagAlgorithm = "sha1" | "sha256";

/**
 * Calculates a program's tag, as the kernel does when it is loaded: the first 8 bytes of a hash of its instructions, in
 * which descriptors of maps count as 0.
 *
 * @param instructions as they are given to the kernel
 * @param algorithm that of the kernel. Default `sha256`
 * @returns 16 hexadecimal digits
 *
 * @example
 * ```ts
 * import { exit, mov, r0 } from "rawbpf/asm";
 * import { programTag } from "rawbpf/programs";
 *
 * programTag([mov(r0, 0), exit()], "sha1"); // "a04f5eef06a7f555"
 * ```
 */
export function programTag(instructions: readonly Instruction[], algorithm: TagAlgorithm = "sha256"): string {
  const plain = link(instructions).map((insn) =>
    insn.opcode === LD_IMM64 && (insn.src === PseudoSource.mapFd || insn.src === PseudoSource.mapValue)
      ? { ...insn, imm: 0, high: 0, meta: undefined }
      : insn,
  );
  return createHash(algorithm)
    .update(encode(plain))
    .digest("hex")
    .slice(0, 2 * TAG_BYTES);
}

/**
 * Whether a program that the kernel has was loaded from these instructions, whichever hash the kernel takes.
 *
 * @param instructions as they are given to the kernel
 * @param tag as `program.info()` tells it
 */
export function hasTag(instructions: readonly Instruction[], tag: string): boolean {
  return programTag(instructions, "sha256") === tag || programTag(instructions, "sha1") === tag;
}
