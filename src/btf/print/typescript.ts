// Browser-safe.

import { BtfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import type { BtfType } from "../types.ts";
import type { ValueOptions } from "../values/options.ts";
import { type EnumPlan, type FieldPlan, type Plan, planOf, type StructPlan } from "../values/plan.ts";
import { uniqueName } from "../values/unique-name.ts";
import { typeText } from "./c-text.ts";

/** Options of {@link toTypeScript}: those that the codec is made with decide what the values are. */
export interface ToTypeScriptOptions extends ValueOptions {
  /** Precede each declaration with `export`. Default `true`. */
  readonly export?: boolean | undefined;
}

/**
 * Prints TypeScript declarations of the values that `codec` decodes: an `interface` for each struct and union, a union
 * of string literals for each enum, with the C type and the offset of each member. Everything that the roots hold by
 * value is declared too. Members of a type without a name of its own are written in place.
 *
 * Names that TypeScript does not allow are changed, and names that occur twice numbered; members keep theirs, in
 * quotes where they must be.
 *
 * @param btf where the types are from
 * @param roots numbers of structs, unions, enums, sections, variables or typedefs
 * @param options those of the codec
 * @returns source text that compiles by itself under `strict`
 * @throws BtfError when a root has no value
 *
 * @example
 * ```ts
 * import { encodeBtf, openBtf, toTypeScript } from "rawbpf/btf";
 *
 * const btf = openBtf(
 *   encodeBtf([
 *     { kind: "int", name: "int", size: 4, signed: true },
 *     { kind: "enum", name: "state", values: [{ name: "IDLE", value: 0 }, { name: "BUSY", value: 1 }] },
 *     { kind: "struct", name: "job", size: 8, members: [
 *       { name: "id", type: 1 },
 *       { name: "state", type: 2, bitOffset: 32 },
 *     ] },
 *   ]),
 * );
 * console.log(toTypeScript(btf, [3]));
 * // export interface job {
 * //   id: number;
 * //   state: state | number;
 * // }
 * // ... and type state = "IDLE" | "BUSY", all with comments
 * ```
 */
export function toTypeScript(btf: Btf, roots: Iterable<number>, options: ToTypeScriptOptions = {}): string {
  const printer = new Printer(btf, options);
  for (const root of roots) printer.root(root);
  return printer.finish();
}

/** What an interface or type may not be called: words of the language, and names that declarations here refer to. */
const RESERVED: ReadonlySet<string> = /* @__PURE__ */ new Set(
  `any as async await bigint boolean break case catch class const continue debugger declare default delete do else enum
  export extends false finally for from function get if implements import in infer instanceof interface intrinsic is
  keyof let module namespace never new null number object of package private protected public readonly require return
  set static string super switch symbol this throw true try type typeof undefined unique unknown var void while with
  yield Uint8Array Array globalThis`.split(/\s+/),
);

function typeName(name: string): string {
  const clean = name.replace(/[^A-Za-z0-9_]/g, "_");
  if (clean === "" || /^\d/.test(clean)) return `_${clean}`;
  return RESERVED.has(clean) ? `${clean}_` : clean;
}

/** Ends no comment, and stays on its line. */
function comment(text: string): string {
  return text.replaceAll("*/", "*\\/").replace(/[\n\r\u2028\u2029]/g, " ");
}

/** Members that may be declared: structs without a name are written in each place that has them. */
const MAX_MEMBERS = 1 << 20;

class Printer {
  readonly #btf: Btf;
  readonly #options: ToTypeScriptOptions;
  readonly #declarations: string[] = [];
  readonly #taken = new Map<string, number>();
  /** Names given to types, by the type they are of. */
  readonly #names = new Map<number, string>();
  readonly #pending: (() => string)[] = [];
  #budget = MAX_MEMBERS;

  constructor(btf: Btf, options: ToTypeScriptOptions) {
    this.#btf = btf;
    this.#options = options;
  }

  root(id: number): void {
    const plan = planOf(this.#btf, id, this.#options);
    const type = this.#typeOf(plan);
    // A typedef or variable of something that is declared under another name, or not at all.
    const { kind, name } = this.#btf.typeById(id);
    if (name !== "" && !this.#names.has(id) && type !== typeName(name)) {
      const alias = uniqueName(typeName(name), this.#taken);
      this.#names.set(id, alias);
      const what = kind === "datasec" ? `Section \`${name}\`` : `\`${typeText(this.#btf, id)}\``;
      this.#declarations.push(
        `/** ${comment(what)}, ${plan.size} bytes. */\n${this.#export}type ${alias} = ${type};\n`,
      );
    }
    this.#drain();
  }

  finish(): string {
    return this.#declarations.join("\n");
  }

  get #export(): string {
    return this.#options.export === false ? "" : "export ";
  }

  #drain(): void {
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      this.#declarations.push(next());
    }
  }

  /** The TypeScript type of a value. */
  #typeOf(plan: Plan, indent = ""): string {
    switch (plan.kind) {
      case "int":
        return this.#integer(8 * plan.size);
      case "bits":
        if (plan.of.kind === "enum") return this.#enum(plan.of);
        return plan.of.kind === "bool" ? "boolean" : this.#integer(plan.width);
      case "bool":
        return "boolean";
      case "float":
        return "number";
      case "ptr":
        return "bigint";
      case "enum":
        return this.#enum(plan);
      case "text":
        return "string";
      case "bytes":
        return "Uint8Array";
      case "array": {
        const element = this.#typeOf(plan.element, indent);
        return /^[\w]+$/.test(element) ? `${element}[]` : `(${element})[]`;
      }
      case "struct":
        return this.#struct(plan, indent);
      default:
        return plan satisfies never;
    }
  }

  #integer(bits: number): string {
    if (bits <= 32) return "number";
    return this.#options.bigint === "safe" && bits <= 64 ? "number | bigint" : "bigint";
  }

  #enum(plan: EnumPlan): string {
    const other = plan.size === 8 ? "bigint" : "number";
    const literals = [...plan.table.values.keys()].map((name) => JSON.stringify(name));
    const type = this.#btf.resolve(plan.id);
    const name = this.#nameFor(plan.id, type);
    let names: string;
    if (literals.length === 0) names = "";
    else if (name === undefined) names = literals.join(" | ");
    else {
      names = this.#declare(type.id, name, (given) => {
        const head = `/** \`${comment(typeText(this.#btf, this.#unqualified(plan.id)))}\`, ${plan.size} bytes. */\n${this.#export}type ${given} =`;
        return `${head}\n${literals.map((literal) => `  | ${literal}`).join("\n")};\n`;
      });
    }
    const value = names === "" ? other : `${names} | ${other}`;
    return plan.flags ? `(${value})[]` : value;
  }

  #struct(plan: StructPlan, indent: string): string {
    const type = this.#btf.resolve(plan.id);
    const name = this.#nameFor(plan.id, type);
    if (name === undefined) return this.#members(plan, indent);
    return this.#declare(type.id, name, (given) => {
      const named = `\`${typeText(this.#btf, this.#unqualified(plan.id))}\``;
      const text = type.kind === "datasec" ? `Section \`${type.name}\`` : named;
      const head = `/** ${comment(text)}, ${plan.size} bytes. */\n${this.#export}interface ${given}`;
      return `${head} ${this.#members(plan, "")}\n`;
    });
  }

  /** Gives a type a name, and declares it later: types may be nested in any depth. */
  #declare(id: number, name: string, text: (given: string) => string): string {
    let given = this.#names.get(id);
    if (given === undefined) {
      given = uniqueName(typeName(name), this.#taken);
      this.#names.set(id, given);
      const said = given;
      this.#pending.push(() => text(said));
    }
    return given;
  }

  /** Its own name, or that of the typedef it was reached through. */
  #nameFor(id: number, type: BtfType): string | undefined {
    if (type.name !== "") return type.name;
    return this.#names.get(type.id) ?? (this.#btf.nameOf(this.#unqualified(id)) || undefined);
  }

  /** The typedef, or else the type, behind qualifiers and tags. */
  #unqualified(id: number): number {
    let type = this.#btf.typeById(id);
    while (type.kind === "const" || type.kind === "volatile" || type.kind === "restrict" || type.kind === "type_tag") {
      type = this.#btf.typeById(type.type);
    }
    return type.id;
  }

  #members(plan: StructPlan, indent: string): string {
    if (plan.fields.length === 0) return "{}";
    return `{\n${plan.fields.map((field) => this.#member(field, `${indent}  `)).join("")}${indent}}`;
  }

  #member(field: FieldPlan, indent: string): string {
    if (--this.#budget < 0) {
      const path = `${this.#btf.image.path} type[${field.plan.id}]`;
      throw new BtfError("ERR_LIMIT", `More than ${MAX_MEMBERS} members to declare`, { path });
    }
    const { name, at, bitOffset, bitfieldSize, plan } = field;
    const bits = bitfieldSize === 0 ? "" : `: ${bitfieldSize}`;
    const place = bitfieldSize === 0 ? `byte ${at}` : `bit ${bitOffset}`;
    const text = comment(`${typeText(this.#btf, plan.id, name)}${bits}`);
    const key = /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name);
    return `${indent}/** \`${text}\`, at ${place}. */\n${indent}${key}: ${this.#typeOf(plan, indent)};\n`;
  }
}
