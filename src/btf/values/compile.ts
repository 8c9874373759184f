// Browser-safe.

import {
  compileWordReader,
  hasFixedBuffer,
  type ReadAt,
  readS64,
  readU64,
  type WordArrays,
  type WordReader,
  WordScope,
} from "../../bytes/index.ts";
import { type DecodeOptions, type Decoder, enumBits, narrowed, readerOf } from "./decode.ts";
import type { ArrayPlan, BitsPlan, EnumPlan, FieldPlan, Plan, StructPlan } from "./plan.ts";
import {
  anyBit,
  bigEndianReaders,
  enumValue,
  flagsValue,
  littleEndianReaders,
  type Readers,
  text,
  viewReader,
} from "./scalars.ts";

/** Members that one decoder may have altogether; more are left to closures. */
const MAX_COMPILED_FIELDS = 20_000;

/** Arrays of that many numbers are written as literals. */
const MAX_UNROLLED = 16;

/** Members that are read in place where their struct is: a function of its own would cost more than they do. */
const MAX_NESTED_INLINE = 64;

/** How a decoder is to be used. */
export interface DecoderUse {
  /** Bytes that a value needs at least. */
  readonly size: number;
  /** Bytes that are the value's; `undefined` when all up to the end are. */
  readonly total: number | undefined;
  /** Reads a value after all checks: what leads here. */
  readonly decode: ReadAt;
  /** Takes a function to read with from now on: quicker, checks for itself, and comes back to `decode`. */
  install(quicker: ReadAt): void;
}

/**
 * Compiles a decoder with `new Function`: objects come from literals, so that they share one shape and need no loop.
 *
 * Nothing of the type gets into the code but numbers that this library worked out, and names of members as
 * `JSON.stringify` writes them.
 *
 * There are three of them. Making a view costs 200 ns, so bytes that are seen for the first time are read one by one.
 * Bytes that come again, such as the memory of a ring buffer or of a batch, are read through typed arrays over their
 * buffer, where values are aligned, and else through a `DataView`.
 *
 * 8 numbers of 64 bits each in a record of a ring buffer take 13 ns through typed arrays (bigints the same, since V8
 * keeps them as 64-bit words until they leave the loop), 30 ns with the ring's own work, against 55 ns of a Go program
 * that copies the record. Objects that outlive the callback cost what allocating them does, 25 to 40 ns more. Through a
 * view it was 60 to 90 ns, and bigints twice as much (Node 20).
 *
 * @returns `undefined` when the plan is too large to be worth it
 */
export function compiledDecoder(plan: Plan, options: DecodeOptions, use: DecoderUse): Decoder | undefined {
  const code = decoderSource(plan, options);
  if (code === undefined) return undefined;
  const byBytes = make(code);
  // Texts, bytes and what has a byte each gain nothing.
  if (!hasWords(plan)) return byBytes;
  let byView: Decoder | undefined;
  let byWords: WordReader | undefined;
  let mayUseWords = options.littleEndian;
  let last: Uint8Array | undefined;
  let view: DataView | undefined;
  return (bytes, at, end) => {
    if (bytes !== last) {
      last = bytes;
      view = undefined;
      return byBytes(bytes, at, end);
    }
    if (view !== undefined) return byView!(bytes, at, end, view);
    // Up to the end of the buffer: one that can grow may have done so.
    view = new DataView(bytes.buffer, bytes.byteOffset);
    byView ??= make(decoderSource(plan, options, true)!);
    if (mayUseWords && hasFixedBuffer(bytes)) {
      if (byWords === undefined) {
        byWords = wordReader(plan, options, use);
        if (byWords === undefined) mayUseWords = false;
        else use.install(byWords.decode);
      }
      byWords?.use(bytes);
    }
    return byView(bytes, at, end, view);
  };
}

function wordReader(plan: Plan, options: DecodeOptions, use: DecoderUse): WordReader | undefined {
  const arrays: WordArrays = new Set();
  const compiler = new Compiler(options, false, arrays);
  const { tools, declarations } = compiler;
  const { size, total } = use;
  const expression = (scope: WordScope): string => compiler.inScope(scope, plan);
  return compileWordReader(
    { size, total, tools, unsafe: [readU64, readS64], declarations, expression },
    arrays,
    use.decode,
  );
}

function make(code: { readonly source: string; readonly tools: readonly unknown[] }): Decoder {
  return (new Function("tools", code.source) as (tools: readonly unknown[]) => Decoder)(code.tools);
}

/** Whether a value has numbers of several bytes. */
function hasWords(plan: Plan): boolean {
  switch (plan.kind) {
    case "int":
    case "enum":
    case "float":
    case "ptr":
      return plan.size > 1;
    case "bits":
      return true;
    case "array":
      return hasWords(plan.element);
    case "struct":
      return plan.fields.some((field) => hasWords(field.plan));
    default:
      return false;
  }
}

/**
 * Source of a decoder: the body of a function that takes `tools` and returns the decoder.
 *
 * @param byView reads numbers through a view of the bytes
 * @returns `undefined` when the plan is too large
 */
export function decoderSource(
  plan: Plan,
  options: DecodeOptions,
  byView = false,
): { readonly source: string; readonly tools: readonly unknown[] } | undefined {
  const compiler = new Compiler(options, byView);
  const result = compiler.expression(plan, 0);
  if (compiler.fields > MAX_COMPILED_FIELDS) return undefined;
  return { source: compiler.source(result), tools: compiler.tools };
}

class Compiler {
  readonly tools: unknown[] = [];
  fields = 0;
  readonly #options: DecodeOptions;
  readonly #readers: Readers;
  readonly #byView: boolean;
  /** Names of the tools that read 64 bits unsigned, and signed. */
  readonly #views: [string?, string?] = [];
  readonly #wideReaders = new Set<string>();
  readonly declarations: string[] = [];
  /** Typed arrays that the code uses; `undefined` when it uses none. */
  readonly #arrays: WordArrays | undefined;
  #scope: WordScope | undefined;
  #inline = 0;
  readonly #toolNames = new Map<unknown, string>();
  /** Names of functions, by the fields of their struct or by their array, and by what their place is a multiple of. */
  readonly #functions = new Map<object, Map<number, string>>();
  #functionCount = 0;

  constructor(options: DecodeOptions, byView: boolean, arrays?: WordArrays) {
    this.#arrays = arrays;
    this.#options = options;
    this.#byView = byView;
    this.#readers = options.littleEndian ? littleEndianReaders : bigEndianReaders;
  }

  source(result: string): string {
    const tools = this.tools.map((_, i) => `const t${i} = tools[${i}];`);
    return [
      '"use strict";',
      ...tools,
      ...this.declarations,
      `return function decode(b, o, e, v) { return ${result}; };`,
    ].join("\n");
  }

  /** The value at `o`, read in that scope. */
  inScope(scope: WordScope, plan: Plan): string {
    const outer = this.#scope;
    const inline = this.#inline;
    this.#scope = scope;
    this.#inline = 0;
    const result = plan.kind === "struct" ? this.#literal(plan, 0) : this.expression(plan, 0);
    this.#scope = outer;
    this.#inline = inline;
    return result;
  }

  /** An expression for the value at `o + at`. */
  expression(plan: Plan, at: number): string {
    const place = at === 0 ? "o" : `o + ${at}`;
    switch (plan.kind) {
      case "int":
        return this.#int(plan.size, plan.signed, this.#options.safe, at);
      case "bool":
        return plan.size === 1 ? `b[${place}] !== 0` : `${this.#tool(anyBit)}(b, ${place}, ${plan.size})`;
      case "bits":
        return this.#bits(plan, at);
      case "float":
        if (this.#byView) return this.#read(`getFloat${8 * plan.size}`, at);
        return `${this.#tool(plan.size === 4 ? this.#readers.f32 : this.#readers.f64)}(b, ${place})`;
      case "ptr":
        if (plan.size === 4) return `BigInt(${this.#int(4, false, false, at)})`;
        return this.#int(8, false, false, at);
      case "enum":
        return this.#enum(plan, this.#int(plan.size, plan.signed, false, at));
      case "text":
        return `${this.#tool(text)}(b, ${place}, ${plan.rest ? "e" : `o + ${at + plan.size}`})`;
      case "bytes":
        if (plan.rest) return `b.slice(${place}, Math.max(${place}, e))`;
        return `b.slice(${place}, o + ${at + plan.size})`;
      case "array":
        return this.#array(plan, at);
      case "struct":
        if (this.#scope === undefined) return `${this.#struct(plan, 1)}(b, ${place}, e, v)`;
        this.#inline += plan.fields.length;
        if (this.#inline <= MAX_NESTED_INLINE) return this.#literal(plan, at);
        return `${this.#struct(plan, this.#scope.alignmentAt(at))}(b, ${place}, e)`;
      default:
        return plan satisfies never;
    }
  }

  #tool(tool: unknown): string {
    let name = this.#toolNames.get(tool);
    if (name === undefined) {
      name = `t${this.tools.length}`;
      this.tools.push(tool);
      this.#toolNames.set(tool, name);
    }
    return name;
  }

  #int(size: number, signed: boolean, safe: boolean, at: number): string {
    const littleEndian = this.#options.littleEndian;
    const word = this.#scope?.integer(size, signed, safe ? "safe" : "bigint", at);
    if (word !== undefined) return word;
    if (this.#byView) {
      if (size === 2 || size === 4) return this.#read(`get${signed ? "Int" : "Uint"}${8 * size}`, at);
      if (size === 8) return `${this.#wide(signed, safe)}(v, o + ${at})`;
    }
    if (size > 4) return `${this.#tool(this.#readers[readerOf(size, signed, safe)])}(b, o + ${at})`;
    const bytes = Array.from({ length: size }, (_, i) => {
      const shift = 8 * (littleEndian ? i : size - 1 - i);
      return `b[o + ${at + i}]${shift === 0 ? "" : ` << ${shift}`}`;
    });
    const value = bytes.join(" | ");
    const spare = 32 - 8 * size;
    if (signed) return spare === 0 ? `(${value})` : `(${size === 1 ? value : `(${value})`} << ${spare} >> ${spare})`;
    return size === 4 ? `((${value}) >>> 0)` : size === 1 ? value : `(${value})`;
  }

  /**
   * Name of a function that reads 64 bits through the view. It is part of the code, and short: an optimiser takes no
   * more than some 900 bytes of bytecode into one function.
   */
  #wide(signed: boolean, safe: boolean): string {
    const { littleEndian } = this.#options;
    let whole = this.#views[signed ? 1 : 0];
    if (whole === undefined) {
      whole = this.#tool(viewReader(signed, littleEndian));
      this.#views[signed ? 1 : 0] = whole;
    }
    if (!safe) return whole;
    const name = signed ? "safeS" : "safeU";
    if (this.#wideReaders.has(name)) return name;
    this.#wideReaders.add(name);
    const [low, high] = littleEndian ? ["o", "o + 4"] : ["o + 4", "o"];
    const number = `h * 0x100000000 + v.getUint32(${low}, ${littleEndian})`;
    const lines = signed
      ? [
          `  const h = v.getInt32(${high}, ${littleEndian});`,
          "  if (h >= 0x200000 || h < -0x200000) return big(v, o);",
          `  const n = ${number};`,
          "  return n >= -0x1fffffffffffff ? n : big(v, o);",
        ]
      : [`  const h = v.getUint32(${high}, ${littleEndian});`, `  return h < 0x200000 ? ${number} : big(v, o);`];
    this.declarations.push(`function ${name}(v, o) {`, ...lines.map((line) => line.replace("big", whole)), "}");
    return name;
  }

  #read(method: string, at: number): string {
    return `v.${method}(o + ${at}, ${this.#options.littleEndian})`;
  }

  #bits({ shift, width, signed, of }: BitsPlan, at: number): string {
    const { safe } = this.#options;
    let number: string;
    if (width <= 32 && shift + width <= 32) number = this.#fewBits(shift, width, signed, at);
    else {
      const wide = width > 32;
      const read = this.#tool(wide ? this.#readers.wideBits : this.#readers.bits);
      number = `${read}(b, o + ${at}, ${shift}, ${width}, ${signed})`;
      if (wide && safe && width <= 64 && of.kind === "int") number = `${this.#tool(narrowed)}(${number})`;
    }
    if (of.kind === "int") return number;
    if (of.kind === "bool") return width <= 32 ? `${number} !== 0` : `${number} !== 0n`;
    return `${this.#tool(enumBits(of, width))}(${number})`;
  }

  /** Bits that one 32-bit word can hold, read without a call. */
  #fewBits(shift: number, width: number, signed: boolean, at: number): string {
    const size = Math.ceil((shift + width) / 8);
    const word = this.#int(size, false, false, at);
    const right = this.#options.littleEndian ? shift : 8 * size - shift - width;
    if (signed) return `(${word} << ${32 - width - right} >> ${32 - width})`;
    return width === 32 ? word : `((${word} >>> ${right}) & ${2 ** width - 1})`;
  }

  #enum({ table, flags, size }: EnumPlan, number: string): string {
    const name = this.#tool(table);
    return flags
      ? `${this.#tool(flagsValue)}(${name}, ${number}, ${size})`
      : `${this.#tool(enumValue)}(${name}, ${number})`;
  }

  #array(plan: ArrayPlan, at: number): string {
    const { element, length, rest } = plan;
    const { size } = element;
    const scalar = element.kind !== "struct" && element.kind !== "array";
    if (!rest && scalar && length <= MAX_UNROLLED) {
      return `[${Array.from({ length }, (_, i) => this.expression(element, at + i * size)).join(", ")}]`;
    }
    const scope = this.#scope;
    // Of all elements.
    const alignment = scope === undefined ? 1 : Math.min(scope.alignmentAt(at), lowestBit(size));
    const name = this.#function(plan, alignment, "a", (inner) => {
      const count = rest ? `Math.max(0, Math.floor((e - o) / ${size}))` : `${length}`;
      const value = inner === undefined ? this.expression(element, 0) : this.inScope(inner, element);
      return [
        `  const n = ${count}, list = [];`,
        `  for (let k = 0; k < n; k++, o += ${size}) { ${inner?.prologue() ?? ""} list.push(${value}); }`,
        "  return list;",
      ];
    });
    return `${name}(b, o + ${at}, e${scope === undefined ? ", v" : ""})`;
  }

  #struct(plan: StructPlan, alignment: number): string {
    return this.#function(plan.fields, alignment, "s", (inner) => {
      this.fields += plan.fields.length;
      if (this.fields > MAX_COMPILED_FIELDS) return [];
      const value = inner === undefined ? this.#literal(plan, 0) : this.inScope(inner, plan);
      return [`  ${inner?.prologue() ?? ""}`, `  return ${value};`];
    });
  }

  /** Name of a function that reads what `key` stands for; written when it is first asked for. */
  #function(
    key: object,
    alignment: number,
    letter: string,
    body: (scope: WordScope | undefined) => readonly string[],
  ): string {
    let names = this.#functions.get(key);
    if (names === undefined) {
      names = new Map();
      this.#functions.set(key, names);
    }
    let name = names.get(alignment);
    if (name === undefined) {
      name = `${letter}${this.#functionCount++}`;
      names.set(alignment, name);
      const scope = this.#scope === undefined ? undefined : new WordScope(alignment, this.#arrays!);
      this.declarations.push(`function ${name}(b, o, e, v) {`, ...body(scope), "}");
    }
    return name;
  }

  #literal(plan: StructPlan, base: number): string {
    return `({${plan.fields.map((field) => this.#property(field, base)).join(",")}\n  })`;
  }

  #property({ name, plan, at: offset, limit }: FieldPlan, base: number): string {
    const at = base + offset;
    // A literal's `__proto__: x` sets the prototype, a computed name does not.
    const key = name === "__proto__" ? '["__proto__"]' : JSON.stringify(name);
    const value = this.expression(plan, at);
    if (limit === undefined) return `\n    ${key}: ${value}`;
    return `\n    ${key}: ((e) => ${value})(o + ${at + limit})`;
  }
}

function lowestBit(size: number): number {
  return size === 0 ? 8 : Math.min(8, size & -size);
}
