// Browser-safe.

import { type Codec, checkRoom, type Decoded, type Encodable, makeCodec, shapeOf, unsafeInteger } from "./codec.ts";
import {
  compileWordReader,
  hasFixedBuffer,
  mayCompile,
  type ReadAt,
  readS64,
  readU64,
  type WordReader,
  type WordScope,
} from "./generate.ts";

/** A codec of plain objects that knows where each member lies. */
export type StructCodec<T, In = T> = Codec<T, In> & {
  /** Offset of each member in bytes. */
  readonly offsets: { readonly [K in keyof T]: number };
};

// biome-ignore lint/suspicious/noExplicitAny: a codec both takes and gives its values; only any fits either way
type Members = { readonly [name: string]: Codec<any, any> };
type Member = readonly [name: string, offset: number, codec: Codec<unknown>];
type Decode = (bytes: Uint8Array, offset: number) => unknown;

/** How a struct is laid out and read. */
export interface StructOptions {
  /** `false` never generates code: closures are used, as where a content security policy forbids it. Default true. */
  readonly codegen?: boolean | undefined;
}

/**
 * A C struct: members in order, each at its natural alignment, padded at the end.
 *
 * Its decoder is generated code (`new Function`), with the members of nested structs and numbers read in place: some
 * ten times quicker than a loop over members. Where code may not be generated, closures do the same.
 *
 * @param members codecs by name
 * @param options whether code may be generated
 * @returns a codec of plain objects; encoding takes the members alone, padding is written as zeros
 * @example
 * ```ts
 * const event = struct({ pid: u32, ppid: u32, time: u64, comm: cstring(16) });
 * event.size; // 32
 * event.offsets.time; // 8
 * event.decode(event.encode({ pid: 1, ppid: 0, time: 5n, comm: "init" })).comm; // "init"
 * ```
 */
export function struct<M extends Members>(
  members: M,
  options: StructOptions = {},
): StructCodec<{ [K in keyof M]: Decoded<M[K]> }, { readonly [K in keyof M]: Encodable<M[K]> }> {
  type Value = { [K in keyof M]: Decoded<M[K]> };
  type Input = { readonly [K in keyof M]: Encodable<M[K]> };
  const offsets: Record<string, number> = Object.create(null) as Record<string, number>;
  const list: Member[] = [];
  let at = 0;
  let alignment = 1;
  for (const [name, codec] of Object.entries(members) as [string, Codec<unknown>][]) {
    at = Math.ceil(at / codec.alignment) * codec.alignment;
    offsets[name] = at;
    list.push([name, at, codec]);
    at += codec.size;
    alignment = Math.max(alignment, codec.alignment);
  }
  const size = Math.ceil(at / alignment) * alignment;
  // Made when first used: many structs are only ever written.
  let decode: Decode | undefined;
  const makeDecode = (): Decode => {
    const generated = options.codegen !== false && mayCompile();
    decode = generated ? recurring(list, size, checked, install) : (bytes, offset) => interpret(list, bytes, offset);
    return decode;
  };
  const checked = (bytes: Uint8Array, offset = 0): Value => {
    checkRoom(bytes, offset, size);
    return (decode ?? makeDecode())(bytes, offset) as Value;
  };
  const codec = makeCodec<Value, Input>(
    size,
    alignment,
    checked,
    (value, bytes, offset) => {
      if (typeof value !== "object" || value === null) {
        throw new TypeError(`Values of a struct are objects, not ${value === null ? "null" : typeof value}`);
      }
      checkRoom(bytes, offset, size);
      bytes.fill(0, offset, offset + size);
      for (const member of list) encodeMember(member, value as { readonly [name: string]: unknown }, bytes, offset);
    },
    { kind: "struct", members: list },
  );
  const install = (quicker: ReadAt): void => {
    codec.decode = quicker as typeof checked;
  };
  return Object.assign(codec, { offsets: Object.freeze({ ...offsets }) as StructCodec<Value>["offsets"] });
}

function encodeMember(
  [name, at, codec]: Member,
  value: { readonly [name: string]: unknown },
  bytes: Uint8Array,
  offset: number,
): void {
  try {
    codec.encodeInto(value[name], bytes, offset + at);
  } catch (error) {
    const path = `Member ${JSON.stringify(name)}: `;
    if (error instanceof RangeError) throw new RangeError(path + error.message);
    if (error instanceof TypeError) throw new TypeError(path + error.message);
    throw error;
  }
}

function interpret(members: readonly Member[], bytes: Uint8Array, offset: number): unknown {
  const value: Record<string, unknown> = {};
  for (const [name, at, codec] of members) {
    const member = codec.decode(bytes, offset + at);
    if (name === "__proto__") {
      Object.defineProperty(value, name, { value: member, enumerable: true, configurable: true, writable: true });
    } else value[name] = member;
  }
  return value;
}

/** Arrays of that many elements are written as literals. */
const MAX_UNROLLED = 16;

/** Members in one generated function: beyond that the optimiser gives up, and closures do as well. */
const MAX_INLINED = 512;

/**
 * Compiles a decoder that reads bytes which come again, such as the memory of a ring buffer or of a batch, through typed
 * arrays over their buffer: several times quicker. Bytes seen for the first time are read one by one, because laying
 * arrays over them costs more.
 *
 * @param checked the codec's own function: reads what the quicker one cannot
 * @param install takes the quicker one, which checks for itself
 */
function recurring(
  members: readonly Member[],
  size: number,
  checked: ReadAt,
  install: (quicker: ReadAt) => void,
): Decode {
  const byBytes = compile(members);
  let byWords: WordReader | undefined;
  let worthIt = true;
  let last: Uint8Array | undefined;
  let laid = false;
  return (bytes, offset) => {
    if (bytes !== last) {
      last = bytes;
      laid = false;
    } else if (!laid && worthIt && hasFixedBuffer(bytes)) {
      laid = true;
      if (byWords === undefined) {
        byWords = compileWords(members, size, checked);
        worthIt = byWords !== undefined;
        if (byWords !== undefined) install(byWords.decode);
      }
      byWords?.use(bytes);
    }
    return byBytes(bytes, offset);
  };
}

function compileWords(members: readonly Member[], size: number, checked: ReadAt): WordReader | undefined {
  const tools: unknown[] = [];
  const expression = (scope: WordScope): string => source(members, tools, scope);
  const unsafe = [
    (from: Int32Array, index: number): never => {
      throw unsafeInteger(readU64(from, index), "u64");
    },
    (from: Int32Array, index: number): never => {
      throw unsafeInteger(readS64(from, index), "i64");
    },
  ] as const;
  return compileWordReader({ size, total: size, tools, unsafe, declarations: [], expression }, new Set(), checked);
}

/** Compiles a decoder that reads byte by byte. The caller has checked the bounds of the whole. */
function compile(members: readonly Member[]): Decode {
  const tools: unknown[] = [];
  const body = source(members, tools, undefined);
  const names = tools.map((_, i) => `t${i}`);
  const head = names.length === 0 ? "" : `const [${names.join(", ")}] = tools;\n`;
  return (
    new Function("tools", `"use strict";\n${head}return (b, o) => (${body});`) as (tools: readonly unknown[]) => Decode
  )(tools);
}

/**
 * An expression for a struct. Nothing gets into it but offsets worked out here and names of members as `JSON.stringify`
 * writes them.
 *
 * @param tools what it calls `t0`, `t1`...: completed
 * @param scope reads through typed arrays
 */
function source(members: readonly Member[], tools: unknown[], scope: WordScope | undefined): string {
  let inlined = 0;
  const tool = (value: unknown): string => `t${tools.push(value) - 1}`;
  const expression = (codec: Codec<unknown>, at: number): string => {
    const shape = shapeOf(codec);
    if (shape === undefined || ++inlined > MAX_INLINED) return `${tool(codec)}.decode(b, o + ${at})`;
    switch (shape.kind) {
      case "int":
        return scope?.integer(shape.size, shape.signed, "bigint", at) ?? integer(shape.size, shape.signed, at);
      case "call": {
        const { wide, signed = false, read } = shape;
        const word = wide === undefined ? undefined : scope?.integer(8, signed, wide, at);
        return word ?? `${tool(read)}(b, o + ${at})`;
      }
      case "array": {
        const { element, length } = shape;
        if (length > MAX_UNROLLED) return `${tool(codec)}.decode(b, o + ${at})`;
        return `[${Array.from({ length }, (_, i) => expression(element, at + i * element.size)).join(", ")}]`;
      }
      case "struct":
        return object(shape.members, at);
      default:
        return shape satisfies never;
    }
  };
  const object = (list: readonly Member[], base: number): string => {
    // A literal's `__proto__: x` sets the prototype, a computed name does not.
    const key = (name: string): string => (name === "__proto__" ? '["__proto__"]' : JSON.stringify(name));
    return `{ ${list.map(([name, at, codec]) => `${key(name)}: ${expression(codec, base + at)}`).join(", ")} }`;
  };
  return object(members, 0);
}

function integer(size: 1 | 2 | 4, signed: boolean, at: number): string {
  const bytes = Array.from({ length: size }, (_, i) => `b[o + ${at + i}]${i === 0 ? "" : ` << ${8 * i}`}`).join(" | ");
  const spare = 32 - 8 * size;
  if (signed) return spare === 0 ? `(${bytes})` : `((${bytes}) << ${spare} >> ${spare})`;
  return size === 4 ? `((${bytes}) >>> 0)` : size === 1 ? bytes : `(${bytes})`;
}
