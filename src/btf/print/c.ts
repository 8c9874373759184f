// Browser-safe.

import type { Btf } from "../btf.ts";
import type {
  BtfEnum,
  BtfEnum64,
  BtfFloat,
  BtfFwd,
  BtfInt,
  BtfStruct,
  BtfType,
  BtfTypedef,
  BtfUnion,
} from "../types.ts";
import { uniqueName } from "../values/unique-name.ts";
import { type DeclaratorContext, declaration, endless, MAX_NESTING, type TagStyle, tagText } from "./c-declarator.ts";
import { placeOf, Shapes } from "./c-layout.ts";
import { C23_WORDS, identifier, isBuiltInNumber, isBuiltInTypedef } from "./c-names.ts";
import { allTypes, DeclarationOrder, idsOfKinds, namesake } from "./c-order.ts";

/** Options of {@link toC}. */
export interface ToCOptions {
  /**
   * Name of the macro that guards against double inclusion, or `false` for bare declarations without guard and
   * pragmas. Default `__VMLINUX_H__`.
   */
  readonly guard?: string | false | undefined;
  /** Have clang record each access to a member for CO-RE, as `bpftool` does. Needs a guard. Default `true`. */
  readonly preserveAccessIndex?: boolean | undefined;
  /** Declare the kernel functions that programs may call. Default: when no roots are given. */
  readonly kfuncs?: boolean | undefined;
  /** How type tags and declaration tags are written. Default as attributes, which compilers ignore at worst. */
  readonly tags?: TagStyle | undefined;
  /** Order as far as C leaves it open: by name, the same from one kernel build to the next (default), or by number. */
  readonly sort?: "name" | "id" | undefined;
}

/** A header, and what its types are called. */
export interface CHeader {
  /** The text. */
  readonly text: string;
  /** Names of the types that were defined or declared, as `struct task_struct` or `u32`, by their number. */
  readonly names: ReadonlyMap<number, string>;
}

/** Steps that all declarations together may take. A kernel takes six for each type. */
function stepsFor(btf: Btf): number {
  return 1_000_000 + 100 * btf.endId;
}

/**
 * Prints types as C declarations that compile, in the manner of `bpftool btf dump ... format c`: what a type needs
 * comes before it, structs are declared before they are pointed to, anonymous ones are written where they are used.
 * Layouts are those of the BTF: holes that no compiler would leave are filled with unnamed bit fields, and
 * `packed` or `aligned` is found out.
 *
 * Of several types with one name the later ones become `name___2` and so on. Names that are none in C are changed.
 *
 * @param btf where the types are from; of a split BTF its own types and what they need of the base
 * @param roots numbers of the types wanted, with everything they need; types that are only pointed to are declared.
 *   Default all types. Functions and variables become `extern` declarations.
 * @param options guard, pragmas, order
 * @returns the text of a header
 * @throws BtfError when a type is malformed, holds itself, or does not come to an end
 *
 * @example
 * ```ts
 * import { readFileSync } from "node:fs";
 * import { openBtf, toC } from "rawbpf/btf";
 *
 * const btf = openBtf(readFileSync("/sys/kernel/btf/vmlinux"));
 * console.log(toC(btf, btf.idsByName("iovec", "struct"), { guard: false }));
 * // struct iovec {
 * //   void *iov_base;
 * //   ...
 * ```
 */
export function toC(btf: Btf, roots?: Iterable<number>, options: ToCOptions = {}): string {
  return printHeader(btf, roots, options).text;
}

/** What {@link toC} does, with the names that were given. */
export function printHeader(btf: Btf, roots?: Iterable<number>, options: ToCOptions = {}): CHeader {
  const printer = new Printer(btf, options);
  const functions = (options.kfuncs ?? roots === undefined) ? kfuncsOf(btf) : [];
  printer.reserve(functions);
  printer.print(roots ?? allTypes(btf, options.sort ?? "name"));
  const types = printer.take();
  printer.print(functions);
  const prototypes = printer.take();
  return { text: wrap(types, prototypes, options), names: printer.names };
}

/** Functions tagged `bpf_kfunc`, by name. */
function kfuncsOf(btf: Btf): number[] {
  const ids = new Set<number>();
  for (const id of idsOfKinds(btf, KIND_OF_TAGS)) {
    const tag = btf.typeById(id);
    if (tag.kind !== "decl_tag" || tag.name !== "bpf_kfunc" || tag.componentIndex !== -1) continue;
    if (btf.kindOf(tag.type) === "func") ids.add(tag.type);
  }
  const named = [...ids].map((id) => [btf.nameOf(id), id] as const);
  return named.sort(([a, i], [b, j]) => (a < b ? -1 : a > b ? 1 : i - j)).map(([, id]) => id);
}

const KIND_OF_TAGS: ReadonlySet<string> = /* @__PURE__ */ new Set(["decl_tag"]);

function wrap(types: string, prototypes: string, options: ToCOptions): string {
  const { guard = "__VMLINUX_H__" } = options;
  const functions = prototypes === "" ? "" : `${prototypes}\n`;
  if (guard === false) return `${types}${functions}`.trimEnd().concat("\n");
  const [push, pop] = options.preserveAccessIndex === false ? ["", ""] : [PUSH, POP];
  const kfuncs = prototypes === "" ? "" : `#ifndef BPF_NO_KFUNC_PROTOTYPES\n${KFUNC_MACROS}${functions}#endif\n\n`;
  return `#ifndef ${guard}\n#define ${guard}\n\n${push}${types}${kfuncs}${pop}#endif /* ${guard} */\n`;
}

const PUSH = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

`;
const POP = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

`;
const KFUNC_MACROS = `#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

`;

/** Writes declarations, in the order that a {@link DeclarationOrder} gives. */
class Printer implements DeclaratorContext {
  readonly btf: Btf;
  readonly tags: TagStyle;
  readonly names = new Map<number, string>();
  budget: number;
  readonly #shapes: Shapes;
  readonly #order: DeclarationOrder;
  #chunks: string[] = [];
  /** Names of typedefs, enumerators, functions and variables. */
  readonly #ordinary = new Map<string, number>();
  /** Tags of structs, unions and enums. */
  readonly #taken = new Map<string, number>();
  /** The first tag of each keyword and name. */
  readonly #firstTags = new Map<string, string>();
  readonly #definedTags = new Set<string>();
  readonly #numbers = new Map<number, string>();

  constructor(btf: Btf, options: ToCOptions) {
    this.btf = btf;
    this.budget = stepsFor(btf);
    this.tags = options.tags ?? "attributes";
    this.#shapes = new Shapes(btf);
    this.#order = new DeclarationOrder(btf);
  }

  /** Keeps the names of functions, which others find them by. */
  reserve(functions: readonly number[]): void {
    for (const id of functions) this.#ordinary.set(this.btf.nameOf(id), 1);
  }

  print(roots: Iterable<number>): void {
    for (const root of roots) {
      for (const { id, what } of this.#order.of(root)) {
        const type = this.btf.typeById(id);
        if (what === "declare") this.#chunks.push(`${this.base(type, 0)};\n\n`);
        else this.#define(type);
      }
    }
  }

  /** What was printed since the last time. */
  take(): string {
    const text = this.#chunks.join("");
    this.#chunks = [];
    return text;
  }

  base(type: BtfType, depth: number): string {
    switch (type.kind) {
      case "void":
        return "void";
      case "int":
      case "float":
        return this.#numberName(type);
      case "typedef":
        return this.#ordinaryName(type);
      case "struct":
      case "union":
        return type.name === "" ? this.#body(type, depth) : this.#tagName(type, type.kind);
      case "enum":
      case "enum64":
        return type.name === "" ? this.#enumerators(type, depth) : this.#tagName(namesake(this.btf, type), "enum");
      case "fwd":
        return this.#tagName(type, type.target);
      default:
        // No declaration is made of these.
        return `void /* ${type.kind} ${identifier(type.name)} */`;
    }
  }

  #define(type: BtfType): void {
    switch (type.kind) {
      case "struct":
      case "union":
        this.#chunks.push(this.#body(type, 0), ";\n\n");
        break;
      case "enum":
      case "enum64":
        this.#emit(`${this.#enumerators(type, 0)};`, type.values);
        break;
      case "typedef":
        this.#typedef(type);
        break;
      case "int":
      case "float":
        this.#chunks.push(`typedef ${substitute(type)} ${this.#ordinaryName(type)};\n\n`);
        break;
      case "func": {
        const tags = this.btf.declTags(type.id, -1);
        const fast = tags.some((tag) => tag.name === "bpf_fastcall") ? "__bpf_fastcall " : "";
        const kfunc = tags.some((tag) => tag.name === "bpf_kfunc") ? " __weak __ksym" : "";
        this.#chunks.push(`extern ${fast}${declaration(this, type.type, identifier(type.name))}${kfunc};\n`);
        break;
      }
      case "var":
        this.#chunks.push(`extern ${declaration(this, type.type, identifier(type.name))};\n`);
        break;
      default:
        break;
    }
  }

  /** Prints a declaration that makes some ordinary names. C23 has a few of the kernel's as keywords. */
  #emit(text: string, makes: readonly { readonly name: string }[]): void {
    const guarded = makes.some(({ name }) => C23_WORDS.has(name));
    this.#chunks.push(guarded ? `#if __STDC_VERSION__ < 202311L\n${text}\n#endif\n\n` : `${text}\n\n`);
  }

  #typedef(type: BtfTypedef): void {
    if (isBuiltInTypedef(type)) return;
    const name = this.#ordinaryName(type);
    // gcc used to write `void` for what it has no type for.
    if (type.name === "__gnuc_va_list" && type.type === 0) {
      this.#chunks.push(`typedef __builtin_va_list ${name};\n\n`);
      return;
    }
    this.#emit(`typedef ${declaration(this, type.type, name)}${this.#declTags(type.id, -1)};`, [type]);
  }

  /** A struct or union with its members, without a semicolon. */
  #body(type: BtfStruct | BtfUnion, depth: number, anonymous: boolean = type.name === ""): string {
    if (depth > MAX_NESTING)
      throw endless(this.btf, type.id, `More than ${MAX_NESTING} declarations inside one another`);
    const { packed, aligned, padding } = this.#shapes.of(type);
    const indent = "\t".repeat(depth);
    const lines: string[] = [];
    const pad = (index: number): void => {
      for (const text of padding[index] ?? []) lines.push(`${indent}\t${text};\n`);
    };
    const names = new Map<string, number>();
    for (let index = 0; index < type.members.length; index++) {
      pad(index);
      lines.push(`${indent}\t${this.#member(type, index, depth + 1, names)};\n`);
    }
    pad(type.members.length);
    const head = anonymous ? type.kind : this.#tagName(type, type.kind);
    const open = lines.length === 0 ? `${head} {}` : `${head} {\n${lines.join("")}${indent}}`;
    const attributes = [packed ? "packed" : "", aligned === 0 ? "" : `aligned(${aligned})`].filter(
      (word) => word !== "",
    );
    const layout = attributes.length === 0 ? "" : ` __attribute__((${attributes.join(", ")}))`;
    return `${open}${layout}${this.#declTags(type.id, -1)}`;
  }

  #member(type: BtfStruct | BtfUnion, index: number, depth: number, names: Map<string, number>): string {
    const member = type.members[index]!;
    const { width } = placeOf(this.btf, member);
    const bits = width === 0 ? "" : `: ${width}`;
    const tags = this.#declTags(type.id, index);
    if (member.name !== "") {
      return `${declaration(this, member.type, uniqueName(identifier(member.name), names), depth)}${bits}${tags}`;
    }
    const of = this.btf.resolve(member.type);
    if (of.kind === "struct" || of.kind === "union") {
      // Of a named type, which Microsoft's dialect allows: written out, so that all compilers take it.
      if (of.name !== "") return `${this.#body(of, depth, true)}${tags}`;
      return `${declaration(this, member.type, "", depth)}${tags}`;
    }
    const name = width === 0 ? uniqueName(`_unnamed_${index}`, names) : "";
    return `${declaration(this, member.type, name, depth)}${bits}${tags}`;
  }

  /** An enum with its values, without a semicolon. */
  #enumerators(type: BtfEnum | BtfEnum64, depth: number): string {
    const indent = "\t".repeat(depth);
    const head = type.name === "" ? "enum" : this.#tagName(type, "enum");
    const lines = type.values.map(({ name, value }) => {
      if (--this.budget < 0) throw endless(this.btf, type.id, "The declaration is too long");
      const suffix = type.kind === "enum" ? "" : type.signed ? "LL" : "ULL";
      return `${indent}\t${uniqueName(identifier(name), this.#ordinary)} = ${value}${suffix},\n`;
    });
    // Not even a forward declaration would do where one lies in a struct.
    if (lines.length === 0)
      lines.push(`${indent}\t${uniqueName(`${identifier(type.name)}_unknown`, this.#ordinary)} = 0,\n`);
    return `${head} {\n${lines.join("")}${indent}}${enumMode(type)}${this.#declTags(type.id, -1)}`;
  }

  #declTags(id: number, component: number): string {
    let text = "";
    if (this.tags === "none" || this.btf.declTags(id).length === 0) return text;
    for (const tag of this.btf.declTags(id, component)) {
      text += ` ${tagText("btf_decl_tag", tag.name, tag.attribute, this.tags)}`;
    }
    return text;
  }

  #numberName(type: BtfInt | BtfFloat): string {
    let name = this.#numbers.get(type.id);
    if (name === undefined) {
      name = isBuiltInNumber(type.name) ? type.name : this.#ordinaryName(type);
      this.#numbers.set(type.id, name);
    }
    return name;
  }

  #ordinaryName(type: BtfType): string {
    let name = this.names.get(type.id);
    if (name === undefined) {
      name = isBuiltInTypedef(type) ? type.name : uniqueName(identifier(type.name), this.#ordinary);
      this.names.set(type.id, name);
    }
    return name;
  }

  /** Keyword and tag. Structs, unions and enums share one space of names. */
  #tagName(type: BtfStruct | BtfUnion | BtfEnum | BtfEnum64 | BtfFwd, keyword: string): string {
    const known = this.names.get(type.id);
    if (known !== undefined) return known;
    const word = identifier(type.name);
    const key = `${keyword} ${word}`;
    let tag = this.#firstTags.get(key);
    // A declaration stands for the first struct of its name, whichever comes first.
    if (tag === undefined || (type.kind !== "fwd" && this.#definedTags.has(tag))) tag = uniqueName(word, this.#taken);
    if (!this.#firstTags.has(key)) this.#firstTags.set(key, tag);
    if (type.kind !== "fwd") this.#definedTags.add(tag);
    const name = `${keyword} ${tag}`;
    this.names.set(type.id, name);
    return name;
  }
}

/** A number of C for one that it has no name for: Rust's `u32`, gcc's `ssizetype`, vectors of other machines. */
function substitute(type: BtfType): string {
  if (type.kind === "float")
    return type.size === 4 ? "float" : type.size === 8 ? "double" : type.size === 2 ? "_Float16" : "long double";
  if (type.kind !== "int") return "int";
  if (type.bool) return "_Bool";
  const names: Readonly<Record<number, string>> = { 1: "char", 2: "short", 4: "int", 8: "long long", 16: "__int128" };
  const name = names[type.size];
  return name === undefined ? `unsigned _BitInt(${type.bits})` : `${type.signed ? "signed" : "unsigned"} ${name}`;
}

/** What makes an enum of a size other than that of `int`. */
function enumMode(type: BtfEnum | BtfEnum64): string {
  if (type.size === 1) return " __attribute__((mode(byte)))";
  if (type.size === 2) return " __attribute__((mode(HI)))";
  if (type.size === 4) return "";
  const fits = (value: bigint): boolean =>
    (type.signed ? BigInt.asIntN(32, value) : BigInt.asUintN(32, value)) === value;
  const small = type.kind === "enum" || type.values.every(({ value }) => fits(value));
  return small ? " __attribute__((mode(word)))" : "";
}
