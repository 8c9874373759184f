import {
  type Btf,
  type BtfMember,
  type BtfStruct,
  type BtfType,
  type BtfUnion,
  openBtf,
} from "../../../src/btf/index.ts";
import { printHeader, type ToCOptions } from "../../../src/btf/print/c.ts";
import { placeOf } from "../../../src/btf/print/c-layout.ts";
import { compileBpf, compileGcc } from "../../support/clang.ts";
import { elfSections } from "../../support/elf-sections.ts";

/** What {@link compareLayouts} found. */
export interface LayoutComparison {
  /** Structs and unions that were compared, anonymous ones among them. */
  readonly compared: ReadonlySet<number>;
  /** Members compared. */
  readonly members: number;
  /** What differs, a line each. */
  readonly differences: readonly string[];
}

/** Options of {@link compareLayouts}. */
export interface LayoutOptions extends ToCOptions {
  /** Who compiles the header: clang for BPF (default), or gcc for this machine. */
  readonly compiler?: "clang" | "gcc";
  /** Only some of the structs: clang takes a time that grows with the square of their number. Default all. */
  readonly only?: (id: number) => boolean;
}

/**
 * Prints all types as C, compiles that, reads the BTF that the compiler made of it, and compares every struct and
 * union with what it was printed from: sizes, and place and width of every member.
 *
 * @param btf what to print
 * @param options of the header, and who compiles it
 */
export function compareLayouts(btf: Btf, options: LayoutOptions = {}): LayoutComparison {
  const { text, names } = printHeader(btf, undefined, options);
  const { only = () => true } = options;
  // One union holds all of them by value, so that none is left out as unused or pruned to a declaration.
  const members: string[] = [];
  for (const [id, name] of names) {
    if (!only(id)) continue;
    const type = btf.typeById(id);
    if (type.kind === "struct" || type.kind === "union") members.push(`${name} m${id};`);
    if (type.kind === "typedef") {
      const of = btf.resolve(id);
      if ((of.kind === "struct" || of.kind === "union") && of.name === "") members.push(`${name} m${id};`);
    }
  }
  const unions: string[] = [];
  for (let i = 0; i < members.length; i += 50_000) {
    const n = unions.length;
    unions.push(`union all${n} { ${members.slice(i, i + 50_000).join("\n")} }; union all${n} *use${n};`);
  }
  const files = { "vmlinux.h": text, "main.c": `#include "vmlinux.h"\n${unions.join("\n")}\n` };
  const file =
    options.compiler === "gcc"
      ? compileGcc(files, ["-Wno-attributes", "-Wno-unknown-pragmas"])
      : compileBpf(files, { bigEndian: !btf.littleEndian, args: ["-O0", "-Wall", "-Werror"] });
  const made = openBtf(elfSections(file).get(".BTF")!);
  const comparison = new Comparison(btf, made, options.compiler === "gcc");
  for (let n = 0; n < unions.length; n++) {
    for (const member of made.typeByName(`all${n}`, "union").members) {
      const id = Number(member.name.slice(1));
      comparison.compare(id, member.type, `${names.get(id)}`);
    }
  }
  return comparison;
}

class Comparison implements LayoutComparison {
  readonly compared = new Set<number>();
  members = 0;
  readonly differences: string[] = [];
  readonly #theirs: Btf;
  readonly #ours: Btf;
  readonly #gcc: boolean;
  readonly #seen = new Set<string>();

  constructor(theirs: Btf, ours: Btf, gcc: boolean) {
    this.#theirs = theirs;
    this.#ours = ours;
    this.#gcc = gcc;
  }

  compare(their: number, our: number, path: string): void {
    const a = this.#theirs.resolve(their);
    const b = this.#ours.resolve(our);
    const key = `${a.id} ${b.id}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    if (a.kind === "struct" || a.kind === "union") {
      this.compared.add(a.id);
      if (b.kind === a.kind) this.#compareMembers(a, b as typeof a, path);
      else this.#differ(path, a.kind, b.kind);
    } else if (a.kind === "array" && b.kind === "array") {
      if (a.length !== b.length) this.#differ(`length of ${path}`, a.length, b.length);
      this.compare(a.type, b.type, `${path}[]`);
    } else if (a.kind === "ptr" && b.kind === "ptr") {
      // What anonymous structs are behind them is compared as well; named ones have their turn.
      const of = this.#theirs.resolve(a.type);
      if (of.kind === "ptr" || of.kind === "array" || of.name === "") this.compare(a.type, b.type, `*${path}`);
    } else {
      const say = (type: BtfType): string => `${type.kind} ${"size" in type ? type.size : ""}`;
      if (say(a).replace("enum64", "enum") !== say(b).replace("enum64", "enum")) this.#differ(path, say(a), say(b));
    }
  }

  #compareMembers(a: BtfStruct | BtfUnion, b: BtfStruct | BtfUnion, path: string): void {
    if (a.size !== b.size) this.#differ(`sizeof ${path}`, a.size, b.size);
    if (a.members.length !== b.members.length) this.#differ(`members of ${path}`, a.members.length, b.members.length);
    const place = (btf: Btf, member: BtfMember): string => {
      const { offset, width } = placeOf(btf, member);
      return `${member.name} at ${offset}${width === 0 ? "" : `:${width}`}`;
    };
    for (const [i, x] of a.members.entries()) {
      const y = b.members[i];
      if (y === undefined) break;
      this.members++;
      const [wanted, got] = [place(this.#theirs, x), place(this.#ours, y)];
      // gcc 12 forgets unnamed bit fields in front of the first member in its BTF, though not in its code.
      const forgotten = this.#gcc && i === 0 && x.bitOffset > 0;
      if (wanted !== got && !forgotten) this.#differ(`${path}.${x.name}`, wanted, got);
      this.compare(x.type, y.type, `${path}.${x.name}`);
    }
  }

  #differ(path: string, wanted: string | number, got: string | number): void {
    this.differences.push(`${path}: ${wanted}, compiled ${got}`);
  }
}
