// Browser-safe.

import { type Btf, essentialName, type TypeId } from "../../btf/index.ts";
import { BtfError } from "../../errors.ts";
import { SymbolBinding } from "../constants.ts";
import type { ElfSymbol } from "../types.ts";
import { emptyRecord, isExtern, type ObjectFile } from "./file.ts";
import type { ExternSpec, KconfigExternSpec } from "./spec.ts";

/**
 * Finds what the object takes from the kernel: what its BTF describes in `.kconfig` and `.ksyms`. Symbols that are
 * undefined and not described are left out; whoever refers to one has to complain.
 *
 * @throws BtfError when a kernel configuration value has a type that none can have
 */
export function readExterns(file: ObjectFile): Record<string, ExternSpec> {
  const externs = emptyRecord<ExternSpec>();
  const { btf } = file;
  if (btf === undefined) return externs;
  const symbols = new Map<string, ElfSymbol>();
  for (const symbol of file.symbols) if (isExtern(symbol)) symbols.set(symbol.name, symbol);
  const kconfig: KconfigExternSpec[] = [];
  for (const { type: id } of file.datasecs.get(".kconfig")?.vars ?? []) {
    const type = btf.typeById(id);
    if (type.kind !== "var" || type.name in externs) continue;
    // Without a symbol nothing uses it; it has its place in the map all the same.
    const weak = (symbols.get(type.name)?.binding ?? SymbolBinding.weak) === SymbolBinding.weak;
    const extern = readKconfig(btf, type.name, type.type, weak);
    externs[type.name] = extern;
    kconfig.push(extern);
  }
  layOutKconfig(btf, kconfig);
  for (const { type: id } of file.datasecs.get(".ksyms")?.vars ?? []) {
    const type = btf.typeById(id);
    const { name } = type;
    const symbol = symbols.get(name);
    if (symbol === undefined || name in externs) continue;
    const weak = symbol.binding === SymbolBinding.weak;
    const kernelName = essentialName(name);
    if (type.kind === "func") externs[name] = { kind: "kfunc", name, kernelName, weak, type: type.type };
    else if (type.kind === "var") {
      const typed = btf.resolve(type.type).kind !== "void";
      externs[name] = { kind: "ksym", name, kernelName, weak, type: typed ? type.type : (0 as TypeId) };
    }
  }
  return externs;
}

function readKconfig(btf: Btf, name: string, type: TypeId, weak: boolean): KconfigExternSpec {
  const form = kconfigForm(btf, type);
  if (form === undefined) {
    throw new BtfError(
      "ERR_BTF_INVALID",
      `Type of the kernel configuration value "${name}" is none of those it may have`,
      {
        path: `.BTF type[${type}]`,
        hint: "Use bool, char, an integer, enum libbpf_tristate, or an array of char",
      },
    );
  }
  return { kind: "kconfig", name, weak, type, ...form, offset: 0, size: btf.sizeOf(type) };
}

function kconfigForm(btf: Btf, id: TypeId): Pick<KconfigExternSpec, "value" | "signed"> | undefined {
  const type = btf.resolve(id);
  switch (type.kind) {
    case "int": {
      if (type.bool) return type.size === 1 ? { value: "bool", signed: false } : undefined;
      if (![1, 2, 4, 8].includes(type.size)) return undefined;
      return { value: type.size === 1 ? "char" : "integer", signed: type.signed };
    }
    case "enum":
    case "enum64":
      return type.name === "libbpf_tristate" && type.size === 4 ? { value: "tristate", signed: false } : undefined;
    case "array": {
      if (type.length === 0 || kconfigForm(btf, type.type)?.value !== "char") return undefined;
      return { value: "string", signed: false };
    }
    default:
      return undefined;
  }
}

/** Gives each value its place in the map, in the order of libbpf: by alignment from the largest, then by size and name. */
function layOutKconfig(btf: Btf, values: readonly KconfigExternSpec[]): void {
  const alignments = new Map(values.map((value) => [value, btf.alignOf(value.type)]));
  const order = [...values].sort(
    (a, b) =>
      alignments.get(b)! - alignments.get(a)! || a.size - b.size || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
  let at = 0;
  for (const value of order) {
    const alignment = alignments.get(value)!;
    at = Math.ceil(at / alignment) * alignment;
    value.offset = at;
    at += value.size;
  }
}
