// Browser-safe.

import { type Codec, mayCompile, type ReadAt } from "../../bytes/index.ts";
import { BtfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import { compiledDecoder } from "./compile.ts";
import { closureDecoder, type Decoder } from "./decode.ts";
import { type Encoder, Fault, makeEncoder, measure } from "./encode.ts";
import type { CodecOptions } from "./options.ts";
import { isFlexible, type Plan, planOf } from "./plan.ts";

/**
 * Parts that one value may have. A byte cannot have many, other than by unions of unions; a hostile type of a few bytes
 * asks for billions.
 */
function mostParts(size: number): number {
  return Math.min(1 << 24, 65_536 + 64 * size);
}

/**
 * Makes the codec of a BTF type. What the values are:
 *
 * | C | JavaScript |
 * |---|---|
 * | integers and bit fields of up to 32 bits, `float`, `double` | `number` |
 * | wider integers and bit fields | `bigint` (option `bigint`) |
 * | pointers | `bigint` |
 * | `bool` | `boolean` |
 * | enums | name of the enumerator; number (8 bytes: `bigint`) when it has none (option `flags`) |
 * | arrays of `char` | text up to the first NUL, malformed UTF-8 as U+FFFD (option `chars`) |
 * | arrays of `unsigned char`, `u8` | `Uint8Array`, a copy |
 * | other arrays | array; a flexible one takes what is left of the bytes (option `size`) |
 * | structs, sections | object; members of anonymous members are its own |
 * | unions | object with each member's view of the bytes |
 * | `long double`, `_Float16` | `Uint8Array` |
 *
 * Encoding takes the same, and is strict: every member must be there (option `partial`), nothing else may be, and all
 * numbers, lengths and names must fit. Integers may be given as `number` or `bigint`, enumerators by name or number,
 * texts and arrays of bytes as `Uint8Array`. Of a union it takes exactly one member, or several that agree about
 * every bit, as those of a decoded value do. A text may fill its array to the last byte, without a NUL behind it.
 * Padding is written as zeros. When encoding fails, the target holds a part of the value.
 *
 * @param btf where the type is from; its byte order and size of pointers are those of the bytes
 * @param typeId number of the type
 * @param options how values look and what encoding demands
 * @returns a codec; `encode` and `encodeInto` throw `TypeError` for members that are missing or unknown and for values
 *   of a wrong type, `RangeError` for values that do not fit
 * @throws BtfError `ERR_BTF_UNSIZED` for functions, `void` and types that are only declared; `ERR_BTF_INVALID` for
 *   members that lie outside of their struct; `ERR_LIMIT` for types that are nested too deeply or too large
 * @throws RangeError when option `size` is smaller than the type, or larger although it has no flexible array
 *
 * @example
 * ```ts
 * import { codec, encodeBtf, openBtf } from "rawbpf/btf";
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
 * const job = codec(btf, 3);
 * job.decode(Uint8Array.of(42, 0, 0, 0, 1, 0, 0, 0)); // { id: 42, state: "BUSY" }
 * job.encode({ id: 1, state: "LAZY" }); // throws RangeError
 * ```
 */
export function codec(btf: Btf, typeId: number, options: CodecOptions = {}): Codec<unknown> {
  const plan = planOf(btf, typeId, options);
  const type = btf.resolve(typeId);
  const name = `${type.kind} ${btf.nameOf(typeId) || type.name || "without a name"}`;
  const most = mostParts(plan.size);
  if (plan.work > most) {
    const path = `${btf.image.path} type[${typeId}]`;
    throw new BtfError("ERR_LIMIT", `A value of ${name} has more than ${most} parts`, { path });
  }
  const total = options.size;
  const size = total ?? plan.size;
  if (total !== undefined) checkTotal(plan, total, name);
  const { littleEndian } = btf;
  const end = (bytes: Uint8Array, offset: number): number => (total === undefined ? bytes.length : offset + total);

  // Both are made when first used: many codecs only ever do one of the two.
  let decode: Decoder | undefined;
  const makeDecode = (): Decoder => {
    const how = { littleEndian, safe: options.bigint === "safe" };
    const compiled =
      options.codegen !== false && mayCompile()
        ? compiledDecoder(plan, how, { size, total, decode: checked, install })
        : undefined;
    decode = compiled ?? closureDecoder(plan, how);
    return decode;
  };
  const checked: ReadAt = (bytes, offset = 0) => {
    checkRoom(bytes, offset, size, name);
    return (decode ?? makeDecode())(bytes, offset, end(bytes, offset));
  };
  // A function of the codec's own, rather than one that calls it: another call is what keeps V8 from taking it into a
  // loop over records.
  const install = (quicker: ReadAt): void => {
    self.decode = quicker;
  };
  let encode: Encoder | undefined;
  const write = (value: unknown, bytes: Uint8Array, offset: number, length: number): void => {
    encode ??= makeEncoder(plan, { littleEndian, partial: options.partial === true });
    bytes.fill(0, offset, offset + length);
    try {
      encode(value, bytes, offset, offset + length);
    } catch (error) {
      throw error instanceof Fault ? refusal(name, error) : error;
    }
  };

  const self: Codec<unknown> = {
    size,
    alignment: alignmentOf(btf, typeId),
    decode: checked,
    encodeInto(value, bytes, offset = 0) {
      const length = total ?? measure(plan, value);
      checkRoom(bytes, offset, length, name);
      write(value, bytes, offset, length);
    },
    encode(value) {
      const bytes = new Uint8Array(total ?? measure(plan, value));
      write(value, bytes, 0, bytes.length);
      return bytes;
    },
  };
  return self;
}

function checkTotal(plan: Plan, total: number, name: string): void {
  if (!Number.isSafeInteger(total) || total < plan.size || (total > plan.size && !isFlexible(plan))) {
    const wanted = `${isFlexible(plan) ? "at least " : ""}${plan.size}`;
    throw new RangeError(`Values of ${name} cannot have ${total} bytes: expected ${wanted}`);
  }
}

function checkRoom(bytes: Uint8Array, offset: number, size: number, name: string): void {
  const room = bytes.length - offset;
  if (!(Number.isInteger(offset) && offset >= 0 && room >= size)) {
    throw new RangeError(`Need ${size} bytes at offset ${offset} for ${name}, found ${bytes.length} altogether`);
  }
}

function alignmentOf(btf: Btf, typeId: number): number {
  const type = btf.resolve(typeId);
  if (type.kind !== "datasec") return btf.alignOf(typeId);
  return type.vars.reduce((most, { type: id }) => Math.max(most, btf.alignOf(id)), 1);
}

function refusal(name: string, { wrongType, message, path }: Fault): Error {
  const place = path === "" ? "" : ` at ${path.replace(/^\./, "")}`;
  const text = `Cannot encode ${name}${place}: ${message}`;
  return wrongType ? new TypeError(text) : new RangeError(text);
}
