import type { SourceLine } from "../asm/index.ts";
import { toHex } from "../bytes/index.ts";
import { NotSupportedError } from "../errors.ts";
import { kernelBuffer } from "../syscall/call.ts";
import type { Fd } from "../syscall/fd.ts";
import { numberOf, queryProgram } from "./description.ts";
import { readRecords } from "./translated.ts";

/** Machine code of one function of a program. */
export interface MachineFunction {
  /** Name, by the program's BTF; that of the program where it has none. */
  readonly name: string;
  /** What it is called in `/proc/kallsyms`: `bpf_prog_6deef7357e7b4530_main`. */
  readonly symbol: string;
  /** Where it is in the kernel; 0 when the kernel hides that. */
  readonly address: bigint;
  /** The code: a copy. */
  readonly code: Uint8Array;
  /** Source lines: where in the code each begins, bytes. Empty without BTF, or when the kernel hides addresses. */
  readonly lines: readonly { readonly offset: number; readonly source: SourceLine }[];
}

/**
 * The machine code that a program was compiled to, by function.
 *
 * @param owner descriptor of a program
 * @throws NotSupportedError when it is interpreted, or the kernel does not show it; SyscallError
 */
export function readMachineCode(owner: Fd): MachineFunction[] {
  const first = queryProgram(owner);
  const size = numberOf(first, "jited_prog_len");
  const hidden = (why: string): Error =>
    new NotSupportedError(`Showing the machine code of ${owner.label}`, { hint: why });
  if (size === 0) throw hidden("it is interpreted (net.core.bpf_jit_enable is 0), or CAP_BPF is missing");
  const count = numberOf(first, "nr_jited_func_lens");
  const symbols = numberOf(first, "nr_jited_ksyms");
  const lines = numberOf(first, "nr_jited_line_info");
  const tags = numberOf(first, "nr_prog_tags");
  const code = kernelBuffer(size);
  const addressRoom = kernelBuffer(symbols * 8);
  const lengthRoom = kernelBuffer(count * 4);
  const lineRoom = kernelBuffer(lines * 8);
  const tagRoom = kernelBuffer(tags * 8);
  const after = queryProgram(owner, {
    jited_prog_len: size,
    jited_prog_insns: code,
    nr_jited_func_lens: count,
    jited_func_lens: lengthRoom,
    nr_jited_ksyms: symbols,
    jited_ksyms: addressRoom,
    ...(lines === 0 ? {} : { nr_jited_line_info: lines, jited_line_info_rec_size: 8, jited_line_info: lineRoom }),
    ...(tags === 0 ? {} : { nr_prog_tags: tags, prog_tags: tagRoom }),
  });
  if (numberOf(after, "jited_prog_insns") === 0) {
    throw hidden("kernel.kptr_restrict, or the lack of CAP_SYSLOG, hides it from this process");
  }
  const records = readRecords(owner, first);
  const addresses = new DataView(addressRoom.buffer);
  const lengths = new DataView(lengthRoom.buffer);
  const places = new DataView(lineRoom.buffer);
  const plainName = String(first.name ?? "");
  let at = 0;
  return Array.from({ length: Math.max(1, count) }, (_, i) => {
    const length = count === 0 ? size : lengths.getUint32(i * 4, true);
    const address = i < symbols ? addresses.getBigUint64(i * 8, true) : 0n;
    const name = records.functions[i]?.name ?? plainName;
    // The first one is the program itself, and has its tag.
    const tag = toHex(i > 0 && i < tags ? tagRoom.subarray(i * 8, i * 8 + 8) : (first.tag as Uint8Array));
    const found: { offset: number; source: SourceLine }[] = [];
    for (let line = 0; address !== 0n && line < Math.min(lines, records.lines.length); line++) {
      const distance = places.getBigUint64(line * 8, true) - address;
      if (distance >= 0n && distance < BigInt(length)) {
        found.push({ offset: Number(distance), source: records.lines[line]!.source });
      }
    }
    const part = code.slice(at, at + length);
    at += length;
    return { name, symbol: `bpf_prog_${tag}${name === "" ? "" : `_${name}`}`, address, code: part, lines: found };
  });
}
