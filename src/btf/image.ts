// Browser-safe.

import { Reader } from "../bytes/index.ts";
import { type BpfErrorCode, BtfError } from "../errors.ts";
import { BTF_MAGIC, ELEMENT_WORDS, INFO_WORDS, infoKind } from "./kinds.ts";

/** Where the bytes of a BTF come from, for error messages. */
export interface BtfOrigin {
  /** Prefix of the path in error messages. Default `.BTF`. */
  readonly path?: string | undefined;
  /** Offset of the first byte inside the file it was taken from, added to offsets in error messages. Default 0. */
  readonly offset?: number | undefined;
}

/** Fields of `struct btf_header` with offsets from the start of the bytes. */
export interface BtfHeader {
  /** Byte order of the file. */
  readonly littleEndian: boolean;
  /** Length of the header: 24, 32 with a layout section, or longer. */
  readonly headerLength: number;
  /** Type section: first byte and length. */
  readonly types: Section;
  /** String section: first byte and length. */
  readonly strings: Section;
  /** Kind layout section (Linux 7.1): first byte and length, where there is one. */
  readonly layout: Section | undefined;
}

interface Section {
  readonly offset: number;
  readonly length: number;
}

/**
 * BTF after the one pass that {@link openBtf} makes: where each type starts, and nothing decoded.
 *
 * Every field of the type section is a 32-bit word, so the section is kept as words in the order of the machine: a
 * view on the input when order and alignment allow it, else one swapped copy. Everything behind this point is
 * indifferent to byte order.
 */
export interface BtfImage {
  /** The header. */
  readonly header: BtfHeader;
  /** Words of the type section, in the order of the machine. */
  readonly words: Uint32Array;
  /** Index into `words` of each type of its own: `starts[id - firstId]`. */
  readonly starts: Uint32Array;
  /** The string section: a view on the input. */
  readonly strings: Uint8Array;
  /** For error messages. */
  readonly path: string;
  /** For error messages. */
  readonly offset: number;
}

/** Makes a {@link BtfError} of the form that all of BTF uses. */
export function btfError(code: BpfErrorCode, message: string, path: string, offset?: number): BtfError {
  return new BtfError(code, message, { path, offset });
}

/** Whether numbers of typed arrays are little-endian on this machine. */
export const MACHINE_LITTLE_ENDIAN: boolean = /* @__PURE__ */ (() =>
  new Uint8Array(Uint32Array.of(1).buffer)[0] === 1)();

/**
 * Reads and checks a BTF header: magic, version, and that each section lies inside the input and overlaps no other.
 *
 * @param bytes the whole of the BTF
 * @param origin for error messages
 * @throws BtfError when it is not BTF, is of a version that is not known, or is cut off
 */
export function readHeader(bytes: Uint8Array, origin: BtfOrigin = {}): BtfHeader {
  const path = origin.path ?? ".BTF";
  const base = origin.offset ?? 0;
  const fail = (code: BpfErrorCode, message: string, at: number): BtfError =>
    btfError(code, message, `${path} header`, base + at);
  if (bytes.length < 8) throw fail("ERR_TRUNCATED", `Need 24 bytes for the header, found ${bytes.length}`, 0);
  const littleEndian = bytes[0] === (BTF_MAGIC & 0xff);
  const reader = new Reader(bytes, {
    littleEndian,
    path: `${path} header`,
    base,
    error: (code, message, where, at) => btfError(code, message, where, at),
  });
  const magic = reader.u16();
  if (magic !== BTF_MAGIC) {
    throw fail("ERR_UNSUPPORTED_FORMAT", `Magic is 0x${magic.toString(16)}, expected 0x${BTF_MAGIC.toString(16)}`, 0);
  }
  const version = reader.u8();
  if (version !== 1) throw fail("ERR_UNSUPPORTED_FORMAT", `Version is ${version}, expected 1`, 2);
  const flags = reader.u8();
  if (flags !== 0) throw fail("ERR_UNSUPPORTED_FORMAT", `Flags are 0x${flags.toString(16)}, expected 0`, 3);
  const headerLength = reader.u32();
  if (headerLength < 24) throw fail("ERR_MALFORMED", `Header length is ${headerLength}, expected at least 24`, 4);
  if (headerLength > bytes.length) {
    throw fail("ERR_TRUNCATED", `Header length is ${headerLength}, the input has ${bytes.length} bytes`, 4);
  }
  const section = (name: string, at: number): Section => {
    const relative = reader.seek(at).u32();
    const length = reader.u32();
    const offset = headerLength + relative;
    if (offset > bytes.length || length > bytes.length - offset) {
      const found = `${length} bytes at offset ${offset}`;
      throw fail("ERR_TRUNCATED", `The ${name} section of ${found} ends behind the input of ${bytes.length} bytes`, at);
    }
    return { offset, length };
  };
  const types = section("type", 8);
  const strings = section("string", 16);
  let layout = headerLength >= 32 ? section("layout", 24) : undefined;
  if (layout?.length === 0) layout = undefined;
  if ((types.offset - headerLength) % 4 !== 0) {
    throw fail("ERR_MALFORMED", `Type section offset ${types.offset - headerLength} is no multiple of 4`, 8);
  }
  const overlap = (a: Section, b: Section): boolean =>
    a.length > 0 && b.length > 0 && a.offset < b.offset + b.length && b.offset < a.offset + a.length;
  if (overlap(types, strings)) throw fail("ERR_MALFORMED", "The string section overlaps the type section", 16);
  if (layout !== undefined && (overlap(layout, types) || overlap(layout, strings))) {
    throw fail("ERR_MALFORMED", "The layout section overlaps another section", 24);
  }
  return { littleEndian, headerLength, types, strings, layout };
}

/**
 * Reads the structure of BTF in one pass: header, sections, string terminators, and the start of each type.
 *
 * @param bytes the whole of the BTF; kept by reference and must not change
 * @param firstId number of the first type; 1 unless it goes on from a base, in which case its strings may be empty
 *   and start with any character
 * @param origin for error messages
 * @throws BtfError when a section or a type is cut off, or a kind is unknown
 */
export function readImage(bytes: Uint8Array, firstId = 1, origin: BtfOrigin = {}): BtfImage {
  const header = readHeader(bytes, origin);
  const path = origin.path ?? ".BTF";
  const offset = origin.offset ?? 0;
  const strings = bytes.subarray(header.strings.offset, header.strings.offset + header.strings.length);
  checkStrings(strings, firstId > 1, `${path} strings`, offset + header.strings.offset);
  const words = toWords(bytes, header.types, header.littleEndian);
  const typesAt = offset + header.types.offset;
  if (header.types.length % 4 !== 0) {
    throw btfError("ERR_TRUNCATED", `Type section length ${header.types.length} is no multiple of 4`, path, typesAt);
  }
  const table = sizeTable(bytes, header.layout, header.littleEndian);
  const starts = scanTypes(words, table, (index, at, info) => {
    const where = `${path} type[${firstId + index}]`;
    if (info !== undefined) {
      return btfError("ERR_UNSUPPORTED_FORMAT", `Unknown kind ${infoKind(info)}`, where, typesAt + 4 * at);
    }
    const end = typesAt + 4 * words.length;
    return btfError("ERR_TRUNCATED", `The type reaches past the end of the section at ${end}`, where, typesAt + 4 * at);
  });
  return { header, words, starts, strings, path, offset };
}

function checkStrings(strings: Uint8Array, split: boolean, path: string, offset: number): void {
  if (strings.length === 0) {
    if (!split) throw btfError("ERR_MALFORMED", "The string section is empty", path, offset);
    return;
  }
  if (!split && strings[0] !== 0) {
    throw btfError("ERR_MALFORMED", "The string section does not start with an empty string", path, offset);
  }
  if (strings[strings.length - 1] !== 0) {
    const last = offset + strings.length - 1;
    throw btfError("ERR_MALFORMED", "The string section does not end with a NUL", path, last);
  }
}

function toWords(bytes: Uint8Array, section: Section, littleEndian: boolean): Uint32Array {
  const count = section.length >>> 2;
  const at = bytes.byteOffset + section.offset;
  const native = littleEndian === MACHINE_LITTLE_ENDIAN;
  if (native && at % 4 === 0) return new Uint32Array(bytes.buffer, at, count);
  const words = new Uint32Array(count);
  const copy = new Uint8Array(words.buffer);
  copy.set(bytes.subarray(section.offset, section.offset + 4 * count));
  if (!native) {
    for (let i = 0; i < count; i++) {
      const word = words[i]!;
      words[i] = (word >>> 24) | ((word >>> 8) & 0xff00) | ((word & 0xff00) << 8) | (word << 24);
    }
  }
  return words;
}

/**
 * Words of a type by the upper byte of its info word, which is the kind and a flag: the first 256 entries for the type
 * itself, 0 for a kind that is not known, the others for each element. A layout section adds kinds that only it knows.
 */
function sizeTable(bytes: Uint8Array, layout: Section | undefined, littleEndian: boolean): Uint8Array {
  const table = new Uint8Array(512);
  const set = (kind: number, words: number, elementWords: number): void => {
    for (const top of [kind, kind | 0x80]) {
      table[top] = words;
      table[256 + top] = elementWords;
    }
  };
  for (let kind = 1; kind < INFO_WORDS.length; kind++) set(kind, 3 + INFO_WORDS[kind]!, ELEMENT_WORDS[kind]!);
  if (layout === undefined) return table;
  const reader = new Reader(bytes, { littleEndian }).sub(layout.offset, layout.length);
  for (let kind = 0; kind < 128 && reader.remaining >= 4; kind++) {
    const infoSize = reader.u8();
    const elementSize = reader.u8();
    reader.skip(2);
    // All sizes so far are multiples of 4, and nothing could follow a type with another one.
    if (kind >= INFO_WORDS.length && infoSize % 4 === 0 && elementSize % 4 === 0) {
      set(kind, 3 + infoSize / 4, elementSize / 4);
    }
  }
  return table;
}

// The hot loop of opening: 126,000 types of a kernel in 2 ms once compiled, 4 ms from cold, where every operation
// counts; hence tables in place of a Reader, and the bounds checked once, behind the loop: reading a typed array past
// its end gives undefined, which ends the loop as a kind that is not known does.
function scanTypes(words: Uint32Array, table: Uint8Array, fail: ScanFailure): Uint32Array {
  const end = words.length;
  // No type is shorter than three words, so this is large enough; pages that are not written cost nothing.
  const starts = new Uint32Array(Math.ceil(end / 3));
  let count = 0;
  let at = 0;
  while (at < end) {
    const info = words[at + 1]!;
    const size = table[info >>> 24]!;
    if (size === 0) throw fail(count, at, info);
    starts[count++] = at;
    at += size + table[256 + (info >>> 24)]! * (info & 0xffffff);
  }
  if (at > end) throw fail(count - 1, starts[count - 1]!, undefined);
  return starts.subarray(0, count);
}

/** Makes the error of a type that ends the scan; `info` is `undefined` when the type is cut off. */
type ScanFailure = (index: number, at: number, info: number | undefined) => BtfError;
