// Browser-safe.

let allowed: boolean | undefined;

/** Whether code may be generated here: a content security policy may forbid it. */
export function mayCompile(): boolean {
  if (allowed === undefined) {
    try {
      allowed = new Function("return true")() === true;
    } catch {
      allowed = false;
    }
  }
  return allowed;
}

/** Whether numbers of typed arrays are little-endian on this machine. */
const LITTLE_ENDIAN = /* @__PURE__ */ new Uint8Array(/* @__PURE__ */ Uint32Array.of(1).buffer)[0] === 1;

/**
 * Numbers of 64 bits whose upper halves are looked at together. More of them would make a function that optimisers do
 * not take into another: V8 stops at 460 bytes of bytecode, and each takes 35.
 */
const MAX_TOGETHER = 8;

const words = /* @__PURE__ */ new Int32Array(2);
const unsigned64 = /* @__PURE__ */ new BigUint64Array(words.buffer);
const signed64 = /* @__PURE__ */ new BigInt64Array(words.buffer);

/** Reads an unsigned number of 64 bits from two words. */
export function readU64(from: Int32Array, index: number): bigint {
  words[0] = from[index]!;
  words[1] = from[index + 1]!;
  return unsigned64[0]!;
}

/** Reads a signed number of 64 bits from two words. */
export function readS64(from: Int32Array, index: number): bigint {
  words[0] = from[index]!;
  words[1] = from[index + 1]!;
  return signed64[0]!;
}

/** Letters that generated code knows typed arrays over the whole buffer by. */
type WordArray = "g" | "h" | "w" | "u" | "s" | "q";

const ARRAYS: { readonly [A in WordArray]: readonly [type: string, shift: number] } = {
  g: ["Int16Array", 1],
  h: ["Uint16Array", 1],
  w: ["Int32Array", 2],
  u: ["Uint32Array", 2],
  s: ["BigInt64Array", 3],
  q: ["BigUint64Array", 3],
};

/** Letters of typed arrays. @internal */
export type WordArrays = Set<WordArray>;

/**
 * One function of generated code that reads numbers through typed arrays over the buffer: `b` are the bytes, `o` is
 * where the value starts in them.
 *
 * @internal
 */
export class WordScope {
  /** What `o`, counted from the start of the buffer, is a multiple of. */
  readonly alignment: number;
  readonly #used: WordArrays;
  readonly #together: boolean;
  readonly #upper: string[] = [];
  readonly #checks: string[] = [];
  readonly #own: WordArrays = new Set();

  /**
   * @param alignment 1, 2, 4 or 8
   * @param used arrays that the code as a whole needs: completed
   * @param together whether the upper halves of safe integers are looked at together, before anything else
   */
  constructor(alignment: number, used: WordArrays, together = false) {
    this.alignment = alignment;
    this.#used = used;
    this.#together = together;
  }

  /** What the place `o + at` is a multiple of: 1, 2, 4 or 8. */
  alignmentAt(at: number): number {
    return Math.min(this.alignment, at === 0 ? 8 : at & -at);
  }

  /**
   * An integer at `o + at`.
   *
   * @param wide how 64 bits look: as bigint, or as number where that is exact
   * @returns `undefined` when bytes have to do
   */
  integer(size: number, signed: boolean, wide: "bigint" | "safe", at: number): string | undefined {
    const alignment = this.alignmentAt(at);
    if (size === 2 && this.alignment >= 4 && alignment >= 2) return this.#load(signed ? "g" : "h", "(i << 1)", at / 2);
    if (alignment < 4) return undefined;
    if (size === 4) return this.#load(signed ? "w" : "u", "i", at / 4);
    if (size !== 8) return undefined;
    if (wide === "safe") return this.#safe(signed, at / 4);
    if (alignment === 8) return this.#load(signed ? "s" : "q", "(i >> 1)", at / 8);
    return `${signed ? "bigS" : "bigU"}(${this.#array("w")}, ${place("i", at / 4)})`;
  }

  /** Statements that the function begins with. */
  prologue(): string {
    const lines = this.alignment >= 4 ? ["const i = (o + base) >> 2;"] : [];
    for (const name of this.#own) lines.push(`const ${name} = ${name}_;`);
    lines.push(...this.#upper);
    if (this.#checks.length > 0) {
      // Conservative by one for the sake of -2^53, which is no safe integer.
      lines.push(`if (((${this.#checks.join(" | ")}) >>> 0) >= 0x1fffff) return each(b, o, e);`);
    }
    return lines.join(" ");
  }

  /** Whether it leaves numbers that are not safe to a function `each(b, o, e)`. */
  get needsEach(): boolean {
    return this.#checks.length > 0;
  }

  #safe(signed: boolean, index: number): string {
    if (!this.#together || this.#upper.length >= MAX_TOGETHER) {
      // Uses arrays of the code as a whole.
      for (const name of ["w", "u"] as const) this.#used.add(name);
      return `${signed ? "safeS" : "safeU"}(${place("i", index)})`;
    }
    const name = `h${this.#upper.length}`;
    this.#upper.push(`const ${name} = ${this.#load("w", "i", index + 1)};`);
    this.#checks.push(signed ? `(${name} ^ (${name} >> 31))` : name);
    return `${name} * 0x100000000 + ${this.#load("u", "i", index)}`;
  }

  #load(array: WordArray, base: string, index: number): string {
    return `${this.#array(array)}[${place(base, index)}]`;
  }

  #array(name: WordArray): string {
    this.#used.add(name);
    this.#own.add(name);
    return name;
  }
}

function place(base: string, index: number): string {
  return index === 0 ? base : `${base} + ${index}`;
}

/** Reads a value that begins at `offset`. */
export type ReadAt = (bytes: Uint8Array, offset?: number) => unknown;

/** Reads a number that begins at an index. @internal */
export type ReadWords = (from: Int32Array, index: number) => unknown;

/** A function that reads values of bytes which come again. @internal */
export interface WordReader {
  readonly decode: ReadAt;
  /** Says which bytes come again. */
  use(bytes: Uint8Array): void;
}

/** What {@link compileWordReader} makes a function of. @internal */
export interface WordCode {
  /** Bytes of a value. */
  readonly size: number;
  /** Where what may use all bytes ends: at a fixed size, or with the bytes. */
  readonly total: number | undefined;
  /** Names and values that the code uses. */
  readonly tools: readonly unknown[];
  /** What to make of 64 bits at an index of words that are no safe integer: unsigned ones, and signed ones. */
  readonly unsafe: readonly [ReadWords, ReadWords];
  /** Other functions, complete. */
  readonly declarations: readonly string[];
  /** Writes an expression of the value. */
  expression(scope: WordScope): string;
}

/**
 * Compiles a function that reads values of bytes which come again, such as the memory of a ring buffer, through typed
 * arrays over their buffer: one that V8 takes into the function which calls it.
 *
 * @param code what it reads
 * @param used arrays that functions among the declarations use: completed
 * @param other reads what this one cannot: other bytes, places that are not aligned, too few bytes
 * @returns `undefined` when typed arrays are of no use here
 * @internal
 */
export function compileWordReader(code: WordCode, used: WordArrays, other: ReadAt): WordReader | undefined {
  if (!LITTLE_ENDIAN) return undefined;
  const together = new WordScope(8, used, true);
  const value = code.expression(together);
  const each: string[] = [];
  if (together.needsEach) {
    const scope = new WordScope(8, used);
    const slow = code.expression(scope);
    each.push(`function each(b, o, e) { ${scope.prologue()} return ${slow}; }`);
  }
  if (used.size === 0) return undefined;
  const mask = used.has("s") || used.has("q") ? 7 : 3;
  const names = [...used];
  const source = [
    '"use strict";',
    "var last, base = 0;",
    ...names.map((name) => `var ${name}_;`),
    ...code.tools.map((_, i) => `const t${i} = tools[${i}];`),
    "function safeU(i) {",
    "  const h = w_[i + 1];",
    "  return h >>> 0 < 0x200000 ? h * 0x100000000 + u_[i] : unsafeU(w_, i);",
    "}",
    "function safeS(i) {",
    "  const h = w_[i + 1], n = h * 0x100000000 + u_[i];",
    "  return n >= -0x1fffffffffffff && n <= 0x1fffffffffffff ? n : unsafeS(w_, i);",
    "}",
    ...code.declarations,
    ...each,
    "function decode(b, o = 0) {",
    `  if (b !== last || o >>> 0 !== o || ((o + base) & ${mask}) !== 0 || !(b.length - o >= ${code.size})) return other(b, o);`,
    `  const e = ${code.total === undefined ? "b.length" : `o + ${code.total}`};`,
    `  ${together.prologue()}`,
    `  return ${value};`,
    "}",
    "function use(b) {",
    "  last = undefined;",
    ...names.map((name) => {
      const [type, shift] = ARRAYS[name];
      return `  ${name}_ = new ${type}(b.buffer, 0, b.buffer.byteLength >> ${shift});`;
    }),
    "  base = b.byteOffset;",
    "  last = b;",
    "}",
    "return { decode, use };",
  ].join("\n");
  const make = new Function("tools", "other", "bigU", "bigS", "unsafeU", "unsafeS", source) as (
    tools: readonly unknown[],
    other: ReadAt,
    ...numbers: ReadWords[]
  ) => WordReader;
  return make(code.tools, other, readU64, readS64, ...code.unsafe);
}

/** Whether typed arrays can be laid over the buffer of these bytes, for good. @internal */
export function hasFixedBuffer({ buffer }: Uint8Array): boolean {
  const { resizable, growable } = buffer as { readonly resizable?: boolean; readonly growable?: boolean };
  // Indices are worked out in 32 bits.
  return resizable !== true && growable !== true && buffer.byteLength < 2 ** 31;
}
