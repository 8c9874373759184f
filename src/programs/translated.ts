import {
  CallSource,
  decode,
  type Instruction,
  LD_IMM64,
  layout,
  PseudoSource,
  type SourceLine,
  withMeta,
} from "../asm/index.ts";
import type { Btf } from "../btf/index.ts";
import { Reader } from "../bytes/index.ts";
import { BpfError, NotSupportedError } from "../errors.ts";
import { findHelper, mapInfo } from "../kernel-abi/index.ts";
import { decodeStruct } from "../kernel-abi/layout.ts";
import { openBtfById } from "../syscall/btf-object.ts";
import { kernelBuffer } from "../syscall/call.ts";
import { objectById, objInfo } from "../syscall/commands.ts";
import { isErrno } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { type InfoFields, numberOf, queryProgram } from "./description.ts";

/** Tells names from addresses of the kernel: `readKernelSymbols` of `rawbpf/symbols` gives one. */
export interface KernelNames {
  /** The kernel hides its addresses. */
  readonly hidden: boolean;
  addresses(name: string): readonly bigint[];
  resolve(address: bigint): { readonly name: string; readonly offset: number } | undefined;
}

/** What to find out about a program's instructions. */
export interface InspectOptions {
  /** The kernel's symbols, by which helpers and functions of the kernel are named. Default: they stay numbers. */
  readonly symbols?: KernelNames | undefined;
}

/** Records of a program in the kernel: where functions and lines begin. */
export interface ProgramRecords {
  /** Functions, in the order of the program. */
  readonly functions: readonly { readonly slot: number; readonly name: string }[];
  /** Lines, in the order of the program. */
  readonly lines: readonly { readonly slot: number; readonly source: SourceLine }[];
}

/** @internal Reads func_info and line_info, and what the program's BTF says of them. */
export function readRecords(owner: Fd, first: InfoFields): ProgramRecords {
  const btfId = numberOf(first, "btf_id");
  if (btfId === 0) return { functions: [], lines: [] };
  const funcs = numberOf(first, "nr_func_info");
  const lines = numberOf(first, "nr_line_info");
  const funcSize = numberOf(first, "func_info_rec_size");
  const lineSize = numberOf(first, "line_info_rec_size");
  if (funcSize < 8 || (lines > 0 && lineSize < 16)) return { functions: [], lines: [] };
  const funcRoom = kernelBuffer(funcs * funcSize);
  const lineRoom = kernelBuffer(lines * lineSize);
  queryProgram(owner, {
    nr_func_info: funcs,
    func_info_rec_size: funcSize,
    func_info: funcRoom,
    ...(lines === 0 ? {} : { nr_line_info: lines, line_info_rec_size: lineSize, line_info: lineRoom }),
  });
  const btf = openBtfById(btfId, { backend: owner.backend });
  const funcReader = new Reader(funcRoom, { path: "func_info" });
  const lineReader = new Reader(lineRoom, { path: "line_info" });
  return {
    functions: Array.from({ length: funcs }, (_, i) => {
      funcReader.seek(i * funcSize);
      return { slot: funcReader.u32(), name: btf.nameOf(funcReader.u32()) };
    }),
    lines: Array.from({ length: lines }, (_, i) => {
      lineReader.seek(i * lineSize);
      return { slot: lineReader.u32(), source: readLine(lineReader, btf) };
    }),
  };
}

function readLine(reader: Reader, btf: Btf): SourceLine {
  const file = btf.strings.at(reader.u32()) ?? "";
  const text = btf.strings.at(reader.u32()) ?? "";
  const place = reader.u32();
  return { file, line: place >>> 10, column: place & 0x3ff, text };
}

/**
 * The instructions of a program as the kernel runs them: after the verifier has removed what cannot be reached, written
 * out what map lookups and context accesses do, and put in what it wants to have checked.
 *
 * Functions have their names as labels, lines their text, where the program has BTF. Maps are named: `imm` of an
 * `ld_imm64` holds the number of the map. Calls of helpers have the helper's number again, when the kernel's symbols are
 * given; without them, `imm` is the distance from `__bpf_call_base` as the kernel has it. Other functions of the kernel
 * that are called, among them what the verifier has put in the place of a helper, are calls of kernel functions with a
 * reference to their name. Operations that only the kernel uses are kept as raw bits.
 *
 * @param owner descriptor of a program
 * @param options symbols
 * @throws NotSupportedError when the kernel does not show them; SyscallError
 */
export function readTranslated(owner: Fd, options: InspectOptions = {}): Instruction[] {
  const first = queryProgram(owner);
  const size = numberOf(first, "xlated_prog_len");
  const hidden = (why: string): Error =>
    new NotSupportedError(`Showing the instructions of ${owner.label}`, { hint: why });
  if (size === 0) throw hidden("needs CAP_BPF, and CAP_PERFMON for most programs");
  const room = kernelBuffer(size);
  const after = queryProgram(owner, { xlated_prog_len: size, xlated_prog_insns: room });
  if (numberOf(after, "xlated_prog_insns") === 0) {
    throw hidden(
      "its constants are blinded (net.core.bpf_jit_harden), and the kernel hides addresses from this process",
    );
  }
  const records = readRecords(owner, first);
  const instructions = decode(room, { strict: false });
  return annotate(owner, instructions, records, options.symbols);
}

function annotate(
  owner: Fd,
  instructions: readonly Instruction[],
  records: ProgramRecords,
  symbols: KernelNames | undefined,
): Instruction[] {
  const { slots, indices } = layout(instructions);
  const labels = new Map<number, string>();
  for (const { slot, name } of records.functions) labels.set(slot, unique(name, labels));
  const sources = new Map(records.lines.map(({ slot, source }) => [slot, source]));
  const maps = mapNames(owner);
  const names = kernelNames(symbols);
  // Functions without BTF are known by who calls them.
  for (const [index, insn] of instructions.entries()) {
    const target = localTarget(insn, slots[index]!, records);
    if (target === undefined || labels.has(target) || (indices[target] ?? -1) < 0) continue;
    labels.set(target, `subprog_${target}`);
  }
  let source: SourceLine | undefined;
  return instructions.map((insn, index) => {
    const slot = slots[index]!;
    const label = labels.get(slot);
    source = sources.get(slot) ?? source;
    let out = insn;
    const target = localTarget(insn, slot, records);
    const reference = target === undefined ? undefined : labels.get(target);
    if (insn.opcode === CALL && insn.src === CallSource.local) {
      // The kernel keeps the distance in the offset, and the number of the function in the immediate.
      if (target !== undefined) out = { ...insn, offset: 0, imm: target - slot - 1 };
    } else if (insn.opcode === LD_IMM64 && insn.src === PseudoSource.function) {
      if (target !== undefined) out = { ...insn, high: 0 };
    } else if (insn.opcode === LD_IMM64 && (insn.src === PseudoSource.mapFd || insn.src === PseudoSource.mapValue)) {
      return withMeta(out, { labels: label === undefined ? undefined : [label], source, reference: maps(insn.imm) });
    } else if (insn.opcode === CALL && insn.src !== CallSource.local) {
      return called(insn, names, { labels: label === undefined ? undefined : [label], source });
    }
    return withMeta(out, { labels: label === undefined ? undefined : [label], source, reference });
  });
}

const CALL = 0x85;

/** Slot of the function of the same program that is called, or whose address is taken. */
function localTarget(insn: Instruction, slot: number, records: ProgramRecords): number | undefined {
  if (insn.opcode === CALL && insn.src === CallSource.local) {
    const byNumber = records.functions[insn.imm]?.slot;
    // What is far away does not fit the offset.
    if (byNumber !== undefined && ((byNumber - slot - 1) & 0xffff) === (insn.offset & 0xffff)) return byNumber;
    return slot + 1 + (insn.offset === 0 ? insn.imm : insn.offset);
  }
  if (insn.opcode === LD_IMM64 && insn.src === PseudoSource.function) return slot + 1 + insn.imm;
  return undefined;
}

function called(
  insn: Instruction,
  names: (distance: number) => string | undefined,
  meta: { readonly labels: readonly string[] | undefined; readonly source: SourceLine | undefined },
): Instruction {
  const name = insn.imm === 0 ? undefined : names(insn.imm);
  const helper = name === undefined || insn.src !== CallSource.helper ? undefined : findHelper(name);
  if (helper !== undefined && name?.startsWith("bpf_") === true) return withMeta({ ...insn, imm: helper.number }, meta);
  // Tail calls keep the number of their helper. What the verifier has put in the place of a helper is no helper.
  return withMeta(name === undefined ? insn : { ...insn, src: CallSource.kfunc }, { ...meta, reference: name });
}

/** Names of functions by their distance from where the kernel counts calls from. */
function kernelNames(symbols: KernelNames | undefined): (distance: number) => string | undefined {
  const base = symbols === undefined || symbols.hidden ? undefined : symbols.addresses("__bpf_call_base")[0];
  if (base === undefined) return () => undefined;
  return (distance) => {
    const found = symbols!.resolve(BigInt.asUintN(64, base + BigInt(distance)));
    return found?.offset === 0 ? found.name : undefined;
  };
}

function mapNames(owner: Fd): (id: number) => string {
  const known = new Map<number, string>();
  return (id) => {
    let name = known.get(id);
    if (name === undefined) {
      name = mapName(owner, id) || `map_${id}`;
      known.set(id, name);
    }
    return name;
  };
}

function mapName(owner: Fd, id: number): string {
  let map: Fd;
  try {
    map = objectById(owner.backend, "map", id);
  } catch (error) {
    if (error instanceof BpfError && isErrno(error, "EPERM", "ENOENT", "EACCES")) return "";
    throw error;
  }
  try {
    return decodeStruct(mapInfo, objInfo(map, mapInfo.size)).name ?? "";
  } finally {
    map.close();
  }
}

function unique(name: string, labels: ReadonlyMap<number, string>): string {
  const taken = new Set(labels.values());
  for (let n = 0; ; n++) {
    const candidate = n === 0 ? name : `${name}_${n}`;
    if (!taken.has(candidate)) return candidate;
  }
}
