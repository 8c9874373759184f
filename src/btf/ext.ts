// Browser-safe.

import { Reader, Writer } from "../bytes/index.ts";
import { CoreReloKind, nameOfValue } from "../kernel-abi/index.ts";
import type { Btf } from "./btf.ts";
import { type BtfOrigin, btfError } from "./image.ts";
import { BTF_MAGIC } from "./kinds.ts";
import type { TypeId } from "./types.ts";

/** Where a function starts. */
export interface FuncInfo {
  /** Offset of its first instruction in the section, in bytes. */
  readonly insnOffset: number;
  /** The function: a `func`. */
  readonly type: TypeId;
}

/** The source line that an instruction was made from. */
export interface LineInfo {
  /** Offset of the instruction in the section, in bytes. */
  readonly insnOffset: number;
  /** Name of the source file. */
  readonly fileName: string;
  /** Text of the line; may be empty. */
  readonly line: string;
  /** Number of the line, from 1; 0 when there is none. */
  readonly lineNumber: number;
  /** Column, from 1; 0 when there is none. */
  readonly column: number;
}

/** A CO-RE relocation as the compiler recorded it. */
export interface CoreRelo {
  /** Offset of the instruction in the section, in bytes. */
  readonly insnOffset: number;
  /** The local type that the access starts from. */
  readonly type: TypeId;
  /** Path of the access: indices with colons between them (`0:1:2`). */
  readonly access: string;
  /** What is asked about the type or field. */
  readonly kind: CoreReloKind;
}

/** Records of one ELF section. */
export interface ExtSection<Record> {
  /** Name of the ELF section that holds the instructions. */
  readonly section: string;
  /** The records, in the order of the file. */
  readonly records: readonly Record[];
}

/** What `.BTF.ext` says of the instructions of an object file. */
export interface BtfExt {
  /** Where functions start. */
  readonly funcInfos: readonly ExtSection<FuncInfo>[];
  /** Source lines. */
  readonly lineInfos: readonly ExtSection<LineInfo>[];
  /** CO-RE relocations. */
  readonly coreRelos: readonly ExtSection<CoreRelo>[];
}

/** Larger records are taken for damage: the kernel's own are 16 bytes at most. */
const MAX_RECORD_SIZE = 256;

/**
 * Reads `.BTF.ext`. Records may be longer than those known here, as newer compilers make them: the rest is passed over.
 *
 * @param bytes the section
 * @param btf the object file's `.BTF`, which holds the strings and types
 * @param origin path (default `.BTF.ext`) and offset for error messages
 * @throws BtfError when it is malformed: a subsection that is cut off, a record of a size that cannot be, an offset
 *   inside an instruction, a type or string that does not exist, a function that is none
 *
 * @example
 * ```ts
 * import { encodeBtfExt, layoutBtf, openBtf, readBtfExt } from "rawbpf/btf";
 *
 * const types = [
 *   { kind: "func_proto", params: [] },
 *   { kind: "func", name: "prog", type: 1 },
 * ] as const;
 * const { bytes, offsetOf } = layoutBtf(types, { strings: ["xdp"] });
 * const btf = openBtf(bytes);
 * const { id } = btf.typeByName("prog");
 * const funcInfos = [{ section: "xdp", records: [{ insnOffset: 0, type: id }] }];
 * const ext = encodeBtfExt({ funcInfos, lineInfos: [], coreRelos: [] }, offsetOf);
 * readBtfExt(ext, btf).funcInfos[0]?.section; // "xdp"
 * ```
 */
export function readBtfExt(bytes: Uint8Array, btf: Btf, origin: BtfOrigin = {}): BtfExt {
  const path = origin.path ?? ".BTF.ext";
  const reader = new Reader(bytes, {
    littleEndian: bytes[0] === (BTF_MAGIC & 0xff),
    path: `${path} header`,
    base: origin.offset ?? 0,
    error: btfError,
  });
  const magic = reader.u16();
  if (magic !== BTF_MAGIC) {
    const message = `Magic is 0x${magic.toString(16)}, expected 0x${BTF_MAGIC.toString(16)}`;
    throw reader.fail(message, 0, "ERR_UNSUPPORTED_FORMAT");
  }
  const version = reader.u8();
  if (version !== 1) throw reader.fail(`Version is ${version}, expected 1`, 2, "ERR_UNSUPPORTED_FORMAT");
  const flags = reader.u8();
  if (flags !== 0) throw reader.fail(`Flags are 0x${flags.toString(16)}, expected 0`, 3, "ERR_UNSUPPORTED_FORMAT");
  const headerLength = reader.u32();
  if (headerLength < 24) throw reader.fail(`Header length is ${headerLength}, expected at least 24`, 4);
  reader.check(0, headerLength);
  const subsection = (name: string, at: number): Reader | undefined => {
    if (headerLength < at + 8) return undefined;
    const offset = headerLength + reader.seek(at).u32();
    const length = reader.u32();
    if (length === 0) return undefined;
    if ((offset - headerLength) % 4 !== 0) {
      throw reader.fail(`Offset ${offset - headerLength} of ${name} is no multiple of 4`, at);
    }
    return reader.sub(offset, length, `${path} ${name}`);
  };
  return {
    funcInfos: readSections(subsection("func_info", 8), btf, 8, (record) => {
      const insnOffset = readInsnOffset(record);
      const at = record.position;
      const type = readType(record, btf);
      const kind = btf.kindOf(type);
      if (kind !== "func") throw record.fail(`Type ${type} is of kind ${kind}, expected func`, at);
      return { insnOffset, type };
    }),
    lineInfos: readSections(subsection("line_info", 16), btf, 16, (record) => {
      const insnOffset = readInsnOffset(record);
      const fileName = readString(record, btf);
      const line = readString(record, btf);
      const place = record.u32();
      return { insnOffset, fileName, line, lineNumber: place >>> 10, column: place & 0x3ff };
    }),
    coreRelos: readSections(subsection("core_relo", 24), btf, 16, (record) => {
      const insnOffset = readInsnOffset(record);
      const type = readType(record, btf);
      const access = readString(record, btf);
      const number = record.u32();
      const kind = nameOfValue(CoreReloKind, number);
      if (kind === undefined) {
        throw record.fail(`Unknown kind of relocation ${number}`, record.position - 4, "ERR_UNSUPPORTED_FORMAT");
      }
      return { insnOffset, type, access, kind };
    }),
  };
}

function readSections<Record>(
  reader: Reader | undefined,
  btf: Btf,
  leastSize: number,
  readRecord: (reader: Reader) => Record,
): ExtSection<Record>[] {
  if (reader === undefined) return [];
  const path = reader.path;
  const recordSize = reader.u32();
  if (recordSize < leastSize || recordSize > MAX_RECORD_SIZE || recordSize % 4 !== 0) {
    const expected = `a multiple of 4 from ${leastSize} to ${MAX_RECORD_SIZE}`;
    throw reader.fail(`Record size is ${recordSize}, expected ${expected}`, 0);
  }
  const sections: ExtSection<Record>[] = [];
  while (reader.remaining > 0) {
    reader.path = `${path}[${sections.length}]`;
    const section = readString(reader, btf);
    const count = reader.u32();
    if (count === 0) throw reader.fail("The section has no records", reader.position - 4);
    // Before anything is allocated: the records are there.
    reader.check(reader.position, count * recordSize);
    const records: Record[] = [];
    for (let i = 0; i < count; i++) {
      reader.path = `${path}[${sections.length}].record[${i}]`;
      const start = reader.position;
      records.push(readRecord(reader));
      reader.seek(start + recordSize);
    }
    sections.push({ section, records });
  }
  return sections;
}

function readInsnOffset(reader: Reader): number {
  const offset = reader.u32();
  if (offset % 8 !== 0) throw reader.fail(`Offset ${offset} lies inside an instruction`, reader.position - 4);
  return offset;
}

function readType(reader: Reader, btf: Btf): TypeId {
  const type = reader.u32();
  if (type >= btf.endId) {
    throw reader.fail(`Type ${type} does not exist, there are 0 to ${btf.endId - 1}`, reader.position - 4);
  }
  return type as TypeId;
}

function readString(reader: Reader, btf: Btf): string {
  const offset = reader.u32();
  const text = btf.strings.at(offset);
  if (text === undefined) throw reader.fail(`String offset ${offset} is outside of .BTF`, reader.position - 4);
  return text;
}

/** Gives the offset of a string in the BTF written beside it; see `layoutBtf`. */
export type OffsetOf = (text: string) => number;

/**
 * Strings that {@link encodeBtfExt} and {@link encodeLineInfo} need in the BTF.
 *
 * @param ext what is going to be written
 */
export function stringsOfExt(ext: Partial<BtfExt>): string[] {
  const strings = new Set<string>();
  for (const list of [ext.funcInfos, ext.lineInfos, ext.coreRelos]) {
    for (const { section } of list ?? []) strings.add(section);
  }
  for (const { records } of ext.lineInfos ?? []) {
    for (const { fileName, line } of records) strings.add(fileName).add(line);
  }
  for (const { records } of ext.coreRelos ?? []) for (const { access } of records) strings.add(access);
  return [...strings];
}

/**
 * Writes `.BTF.ext`.
 *
 * @param ext what to write; sections without records are left out
 * @param offsetOf where strings lie in the BTF beside it, as `layoutBtf` gives it
 * @param littleEndian byte order. Default `true`
 * @returns a new array
 * @throws RangeError when a number does not fit its field
 */
export function encodeBtfExt(ext: BtfExt, offsetOf: OffsetOf, littleEndian = true): Uint8Array {
  const body = new Writer({ littleEndian });
  const places: number[] = [];
  const write = <Record>(list: readonly ExtSection<Record>[], size: number, one: (record: Record) => void): void => {
    const start = body.length;
    const filled = list.filter(({ records }) => records.length > 0);
    if (filled.length > 0) body.u32(size);
    for (const { section, records } of filled) {
      body.u32(offsetOf(section)).u32(records.length);
      for (const record of records) one(record);
    }
    places.push(start, body.length - start);
  };
  write(ext.funcInfos, 8, (record) => writeFuncInfo(body, record, 1));
  write(ext.lineInfos, 16, (record) => writeLineInfo(body, record, 1, offsetOf));
  write(ext.coreRelos, 16, ({ insnOffset, type, access, kind }) =>
    body.u32(insnOffset).u32(type).u32(offsetOf(access)).u32(CoreReloKind[kind]),
  );
  const writer = new Writer({ littleEndian, capacity: 32 + body.length });
  writer.u16(BTF_MAGIC).u8(1).u8(0).u32(32);
  for (const place of places) writer.u32(place);
  return writer.bytes(body.finish()).finish();
}

/**
 * Writes the functions of one program as `BPF_PROG_LOAD` takes them: records of 8 bytes, with the number of the
 * instruction in place of its offset.
 *
 * @param records functions, their offsets from the start of the program
 * @throws RangeError when an offset lies inside an instruction
 */
export function encodeFuncInfo(records: readonly FuncInfo[], littleEndian = true): Uint8Array {
  const writer = new Writer({ littleEndian, capacity: 8 * records.length });
  for (const record of records) writeFuncInfo(writer, record, 8);
  return writer.finish();
}

/**
 * Writes the source lines of one program as `BPF_PROG_LOAD` takes them: records of 16 bytes, with the number of the
 * instruction in place of its offset.
 *
 * @param records lines, their offsets from the start of the program
 * @param offsetOf where strings lie in the BTF that the program is loaded with, as `layoutBtf` gives it
 * @throws RangeError when an offset lies inside an instruction, or a number does not fit its field
 */
export function encodeLineInfo(records: readonly LineInfo[], offsetOf: OffsetOf, littleEndian = true): Uint8Array {
  const writer = new Writer({ littleEndian, capacity: 16 * records.length });
  for (const record of records) writeLineInfo(writer, record, 8, offsetOf);
  return writer.finish();
}

function writeFuncInfo(writer: Writer, { insnOffset, type }: FuncInfo, unit: number): void {
  writer.u32(insnOffset / unit).u32(type);
}

function writeLineInfo(writer: Writer, record: LineInfo, unit: number, offsetOf: OffsetOf): void {
  const { lineNumber, column } = record;
  if (!(Number.isInteger(lineNumber) && lineNumber >= 0 && lineNumber < 2 ** 22)) {
    throw new RangeError(`Line number is ${lineNumber}, expected 0 to ${2 ** 22 - 1}`);
  }
  // Columns that do not fit are left out: a generated line may be longer than any field.
  const place = lineNumber * 1024 + (column >= 0 && column < 1024 ? column : 0);
  writer
    .u32(record.insnOffset / unit)
    .u32(offsetOf(record.fileName))
    .u32(offsetOf(record.line))
    .u32(place);
}
