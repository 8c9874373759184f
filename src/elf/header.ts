// Browser-safe.

import { toHex } from "../bytes/index.ts";
import { PN_XNUM, SHN } from "./constants.ts";
import { checkInside, elfError, elfReader } from "./errors.ts";
import type { ElfSource } from "./source.ts";
import type { ElfHeader } from "./types.ts";

const IDENT_BYTES = 16;
const PATH = "header";

/** Sizes of the structures of the two classes, in bytes. */
export const LAYOUT = {
  32: { header: 52, section: 40, segment: 32, symbol: 16, rel: 8, rela: 12 },
  64: { header: 64, section: 64, segment: 56, symbol: 24, rel: 16, rela: 24 },
} as const;

/** Byte offsets in the header of the numbers that are checked against the file. */
const FIELDS = {
  32: { shoff: 32, phentsize: 42, phnum: 44, shentsize: 46, shnum: 48, shstrndx: 50, phoff: 28 },
  64: { shoff: 40, phentsize: 54, phnum: 56, shentsize: 58, shnum: 60, shstrndx: 62, phoff: 32 },
} as const;

/**
 * Reads and checks the header. Counts that do not fit their fields stand in section 0 and are taken from there.
 *
 * @param source the whole file
 * @throws ElfError when it is no ELF file, of a kind that is not known, or its tables lie outside of the file
 */
export function readHeader(source: ElfSource): ElfHeader {
  const total = source.length;
  const bytes = source.read(0, Math.min(total, LAYOUT[64].header));
  for (const [i, wanted] of [0x7f, 0x45, 0x4c, 0x46].entries()) {
    if (i < total && bytes[i] !== wanted) {
      const found = toHex(bytes.subarray(0, 4), " ");
      throw elfError("ERR_UNSUPPORTED_FORMAT", `Not an ELF file: starts with ${found}, expected 7f 45 4c 46`, PATH, 0);
    }
  }
  checkInside(total, 0, IDENT_BYTES, PATH, 0, "the identification");
  const bits = bytes[4] === 1 ? 32 : bytes[4] === 2 ? 64 : undefined;
  if (bits === undefined) throw wrong("EI_CLASS", bytes[4]!, "1 (32 bits) or 2 (64 bits)", 4);
  const order = bytes[5]!;
  if (order !== 1 && order !== 2) throw wrong("EI_DATA", order, "1 (little-endian) or 2 (big-endian)", 5);
  if (bytes[6] !== 1) throw wrong("EI_VERSION", bytes[6]!, "1", 6);
  const sizes = LAYOUT[bits];
  const at = FIELDS[bits];
  checkInside(total, 0, sizes.header, PATH, 0, "the header");
  const littleEndian = order === 1;
  const reader = elfReader(bytes, littleEndian, PATH).seek(IDENT_BYTES);
  const word = (): bigint => (bits === 64 ? reader.u64() : BigInt(reader.u32()));
  const type = reader.u16();
  const machine = reader.u16();
  const version = reader.u32();
  if (version !== 1) throw wrong("e_version", version, "1", 20);
  const entry = word();
  const segmentOffset = word();
  const sectionOffset = word();
  const flags = reader.u32();
  reader.skip(2);
  const segmentSize = reader.u16();
  let segmentCount = reader.u16();
  const sectionSize = reader.u16();
  const smallCount = reader.u16();
  let sectionNames = reader.u16();

  let sectionCount = smallCount;
  if (sectionOffset === 0n) {
    if (smallCount !== 0) throw wrong("e_shoff", 0, `the offset of ${smallCount} section headers`, at.shoff);
    if (segmentCount === PN_XNUM) throw wrong("e_phnum", PN_XNUM, "a count, as there is no section 0", at.phnum);
    sectionNames = 0;
  } else {
    if (sectionSize !== sizes.section) throw wrong("e_shentsize", sectionSize, String(sizes.section), at.shentsize);
    checkInside(total, sectionOffset, sizes.section, PATH, at.shoff, "section header 0");
    const first = readFirst(source, littleEndian, Number(sectionOffset), bits);
    if (smallCount === 0) {
      if (first.size === 0n) throw wrong("e_shnum", 0, "a count, here or in section 0", at.shnum);
      const bytesNeeded = first.size * BigInt(sizes.section);
      checkInside(total, sectionOffset, bytesNeeded, PATH, at.shnum, `${first.size} section headers`);
      sectionCount = Number(first.size);
    } else {
      const bytesNeeded = smallCount * sizes.section;
      checkInside(total, sectionOffset, bytesNeeded, PATH, at.shnum, `${smallCount} section headers`);
    }
    if (sectionNames === SHN.xindex) sectionNames = first.link;
    if (segmentCount === PN_XNUM) segmentCount = first.info;
  }
  if (sectionNames >= sectionCount && sectionNames !== 0) {
    throw wrong("e_shstrndx", sectionNames, `a section number below ${sectionCount}`, at.shstrndx);
  }
  if (segmentCount > 0) {
    if (segmentSize !== sizes.segment) throw wrong("e_phentsize", segmentSize, String(sizes.segment), at.phentsize);
    const bytesNeeded = segmentCount * sizes.segment;
    checkInside(total, segmentOffset, bytesNeeded, PATH, at.phoff, `${segmentCount} program headers`);
  }
  return {
    class: bits,
    littleEndian,
    osAbi: bytes[7]!,
    abiVersion: bytes[8]!,
    type,
    machine,
    entry,
    flags,
    segmentOffset: segmentCount === 0 ? 0 : Number(segmentOffset),
    segmentCount,
    sectionOffset: Number(sectionOffset),
    sectionCount,
    sectionNames,
  };
}

/** The three fields of section 0 that take numbers which are too large for the header. */
function readFirst(
  source: ElfSource,
  littleEndian: boolean,
  offset: number,
  bits: 32 | 64,
): { readonly size: bigint; readonly link: number; readonly info: number } {
  const bytes = source.read(offset, LAYOUT[bits].section);
  const reader = elfReader(bytes, littleEndian, "section[0]", offset).seek(bits === 64 ? 32 : 20);
  const size = bits === 64 ? reader.u64() : BigInt(reader.u32());
  return { size, link: reader.u32(), info: reader.u32() };
}

function wrong(field: string, found: number, wanted: string, at: number): Error {
  return elfError("ERR_ELF_INVALID", `${field} is ${found}, expected ${wanted}`, PATH, at);
}
