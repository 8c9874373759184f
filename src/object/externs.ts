import { CallSource, Class, type Instruction, JumpOp, LD_IMM64, PseudoSource, withMeta } from "../asm/index.ts";
import { type BtfType, typesCompatible } from "../btf/index.ts";
import type { ExternSpec, KfuncExternSpec, KsymExternSpec, ObjectSpec } from "../elf/index.ts";
import { BpfError, BtfError } from "../errors.ts";
import { findKernelSymbols, type KernelSymbol } from "../symbols/kallsyms.ts";
import type { KernelType, KernelTypes } from "./kernel-types.ts";

/** What externs ask of the kernel's types. */
export type ExternTypes = Pick<KernelTypes, "find" | "descriptor">;

/** Immediate of the call that stands for a kernel function that is missing: this, and the number of the extern. */
export const POISON_KFUNC = 2002000000;

/** Immediate of the calls that stand for the address of a map that is missing: this, and the number of the map. */
export const POISON_MAP = 2001000000;

/** What an extern turned out to be. */
export type ResolvedExtern =
  | { readonly kind: "address"; readonly address: bigint }
  | { readonly kind: "type"; readonly type: KernelType }
  | { readonly kind: "missing" };

/** Externs by name, as far as the programs that are loaded use them. */
export type ResolvedExterns = ReadonlyMap<string, ResolvedExtern>;

/**
 * Finds kernel symbols and functions that programs refer to: addresses in `/proc/kallsyms`, types in the BTF of the
 * kernel and its modules.
 *
 * @param spec the object
 * @param used names of those that are needed
 * @param types the kernel's
 * @param symbols looks addresses up
 * @throws BpfError `ERR_EXTERN` for one that is missing and not weak, or has several addresses
 */
export function resolveExterns(
  spec: ObjectSpec,
  used: Iterable<string>,
  types: ExternTypes,
  symbols: (names: ReadonlySet<string>) => ReadonlyMap<string, KernelSymbol> = findKernelSymbols,
): ResolvedExterns {
  const resolved = new Map<string, ResolvedExtern>();
  const addresses: KsymExternSpec[] = [];
  for (const name of used) {
    const extern: ExternSpec | undefined = spec.externs[name];
    if (extern === undefined || extern.kind === "kconfig") continue;
    if (extern.kind === "undefined") {
      throw new BpfError("ERR_EXTERN", `"${name}" is not defined in the object, and its types do not say what it is`, {
        hint: "Declare it with __ksym or __kconfig if it is the kernel's; link the object that has it if it is not",
      });
    }
    if (extern.kind === "kfunc") resolved.set(name, resolveFunction(extern, spec, types));
    else if (extern.type !== 0) resolved.set(name, resolveVariable(extern, spec, types));
    else addresses.push(extern);
  }
  if (addresses.length > 0) {
    // The kernel has symbols with `___` in their own names; only where there is none, it begins a flavour.
    const found = symbols(new Set(addresses.flatMap(({ name, kernelName }) => [name, kernelName])));
    for (const extern of addresses) {
      const symbol = found.get(extern.name) ?? found.get(extern.kernelName);
      resolved.set(extern.name, resolveAddress(extern, symbol));
    }
  }
  return resolved;
}

function notInBtf(what: string, name: string): BtfError {
  return new BtfError("ERR_BTF_NOT_FOUND", `No ${what} "${name}" in the BTF of the kernel and its modules`, {
    hint: "Declare it __weak if it may be missing, and look with bpf_ksym_exists() before it is used",
  });
}

/** A weak function whose prototype is another one is as good as missing: that is what flavours are chosen by. */
function resolveFunction(extern: KfuncExternSpec, spec: ObjectSpec, types: ExternTypes): ResolvedExtern {
  const type = types.find(extern.kernelName, "func");
  if (type === undefined) {
    if (extern.weak) return { kind: "missing" };
    throw notInBtf("kernel function", extern.kernelName);
  }
  const there = type.btf.typeById(type.id);
  const prototype = there.kind === "func" ? there.type : type.id;
  if (spec.btf === undefined || typesCompatible(spec.btf, extern.type, type.btf, prototype)) {
    return { kind: "type", type };
  }
  if (extern.weak) return { kind: "missing" };
  throw new BpfError(
    "ERR_EXTERN",
    `Kernel function "${extern.kernelName}" has another prototype than "${extern.name}" in the object`,
    { hint: "Take the declaration from a vmlinux.h of this kernel, or declare both, one as a weak ___flavour" },
  );
}

/** Of variables the type has to be right, for weak ones too: whoever takes the address reads what is there. */
function resolveVariable(extern: KsymExternSpec, spec: ObjectSpec, types: ExternTypes): ResolvedExtern {
  const type = types.find(extern.name, "var") ?? types.find(extern.kernelName, "var");
  if (type === undefined) {
    if (extern.weak) return { kind: "missing" };
    throw notInBtf("kernel variable", extern.kernelName);
  }
  const there = type.btf.typeById(type.id);
  const theirs = type.btf.resolve(there.kind === "var" ? there.type : type.id);
  const ours = spec.btf?.resolve(extern.type);
  if (spec.btf !== undefined && ours !== undefined && !typesCompatible(spec.btf, ours.id, type.btf, theirs.id)) {
    const name = (each: BtfType): string => `${each.kind}${"name" in each && each.name ? ` ${each.name}` : ""}`;
    throw new BpfError(
      "ERR_EXTERN",
      `Kernel variable "${extern.kernelName}" is of type ${name(theirs)}, the object declares ${name(ours)}`,
    );
  }
  return { kind: "type", type };
}

function resolveAddress(extern: KsymExternSpec, symbol: KernelSymbol | undefined): ResolvedExtern {
  if (symbol === undefined) {
    if (extern.weak) return { kind: "missing" };
    throw new BpfError("ERR_EXTERN", `No symbol "${extern.kernelName}" in /proc/kallsyms`, {
      hint: "Declare it __weak if it may be missing: its address is 0 then",
    });
  }
  if (symbol.others.length > 0) {
    const places = [symbol.address, ...symbol.others].map((address) => `0x${address.toString(16)}`).join(", ");
    throw new BpfError("ERR_EXTERN", `Symbol "${extern.kernelName}" is ambiguous: it is at ${places}`);
  }
  if (symbol.address === 0n && !extern.weak) {
    throw new BpfError("ERR_EXTERN", `The kernel does not tell the address of "${extern.kernelName}"`, {
      hint: "kernel.kptr_restrict hides addresses: it needs CAP_SYSLOG, or 0 there",
    });
  }
  return { kind: "address", address: symbol.address };
}

/** Names of the externs that instructions refer to. */
export function externsOf(instructions: readonly Instruction[]): Set<string> {
  const names = new Set<string>();
  for (const { meta } of instructions) {
    const relocation = meta?.relocation;
    const kind = relocation?.kind;
    if (kind === "ksym" || kind === "kfunc" || kind === "undefined") names.add(relocation!.name as string);
  }
  return names;
}

/**
 * Names of externs by the number that stands for them in poisoned calls, as libbpf counts them: values of the kernel's
 * configuration first, then all others by name.
 */
export function externOrder(spec: ObjectSpec): string[] {
  const externs = Object.values(spec.externs);
  const before = externs.filter(({ kind }) => kind === "kconfig").map(({ name }) => name);
  const others = externs.filter(({ kind }) => kind === "ksym" || kind === "kfunc").map(({ name }) => name);
  return [...before, ...others.sort()];
}

/** Number of a module in the array of descriptors that a program is loaded with. */
export interface ModuleIndices {
  /** Descriptors, the first one unused: 0 stands for the kernel itself. */
  readonly descriptors: number[];
  /** Index by module. */
  readonly indices: Map<string, number>;
}

/**
 * Puts addresses and numbers of types in the place of names.
 *
 * @param instructions left as they are
 * @param spec the object
 * @param resolved what the names mean
 * @param types for descriptors of modules
 * @param modules modules whose functions the program calls; added to
 */
export function applyExterns(
  instructions: readonly Instruction[],
  spec: ObjectSpec,
  resolved: ResolvedExterns,
  types: ExternTypes,
  modules: ModuleIndices,
): Instruction[] {
  const numbers = new Map(externOrder(spec).map((name, index) => [name, index]));
  return instructions.map((insn) => {
    const relocation = insn.meta?.relocation;
    if (relocation?.kind !== "ksym" && relocation?.kind !== "kfunc") return insn;
    const name = relocation.name as string;
    const extern = resolved.get(name) ?? { kind: "missing" };
    const plain = { ...insn, meta: withMeta(insn, { relocation: undefined, reference: undefined }).meta };
    if (relocation.kind === "kfunc") {
      if (extern.kind !== "type") {
        return { ...plain, dst: 0, src: 0, offset: 0, imm: POISON_KFUNC + (numbers.get(name) ?? 0) };
      }
      const offset = moduleIndex(extern.type.module, types, modules);
      return { ...plain, src: CallSource.kfunc, offset, imm: extern.type.id };
    }
    switch (extern.kind) {
      case "type": {
        const high = types.descriptor(extern.type.module);
        return { ...plain, src: PseudoSource.btfId, imm: extern.type.id, high };
      }
      case "address": {
        const low = Number(BigInt.asIntN(32, extern.address));
        const high = Number(BigInt.asIntN(32, extern.address >> 32n));
        return { ...plain, src: PseudoSource.immediate, imm: low, high };
      }
      default:
        return { ...plain, src: PseudoSource.immediate, imm: 0, high: 0 };
    }
  });
}

function moduleIndex(module: string, types: ExternTypes, modules: ModuleIndices): number {
  if (module === "vmlinux") return 0;
  let index = modules.indices.get(module);
  if (index === undefined) {
    const { descriptors } = modules;
    // Index 0 is the kernel's own BTF.
    if (descriptors.length === 0) descriptors.push(0);
    index = descriptors.push(types.descriptor(module)) - 1;
    modules.indices.set(module, index);
  }
  return index;
}

const CALL = Class.jmp | JumpOp.call;

/**
 * Makes references to maps that are not created calls that the verifier refuses, where they can be reached.
 *
 * @param instructions left as they are
 * @param missing numbers of the maps that are not created, by name
 */
export function poisonMissingMaps(
  instructions: readonly Instruction[],
  missing: ReadonlyMap<string, number>,
): readonly Instruction[] {
  if (missing.size === 0) return instructions;
  const out: Instruction[] = [];
  for (const insn of instructions) {
    const name = insn.meta?.reference;
    const number = insn.opcode === LD_IMM64 && name !== undefined ? missing.get(name) : undefined;
    if (number === undefined) {
      out.push(insn);
      continue;
    }
    const { labels, source } = insn.meta!;
    const call = { opcode: CALL, dst: 0, src: 0, offset: 0, imm: POISON_MAP + number, high: 0 };
    // Both halves: the numbers of slots stay, and the verifier looks at the opcodes of all of them.
    out.push({ ...call, meta: { ...(labels && { labels }), ...(source && { source }) } });
    out.push({ ...call, meta: source && { source } });
  }
  return out;
}
