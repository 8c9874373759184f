// Browser-safe.

import { SegmentType } from "./constants.ts";
import { elfReader } from "./errors.ts";
import { LAYOUT } from "./header.ts";
import { type ElfSource, memorySource } from "./source.ts";
import type { ElfFile, ElfHeader, ElfSegment } from "./types.ts";

/**
 * Reads the program headers of a program or library.
 *
 * @param elf the file
 * @returns segments by number; none for objects
 * @throws ElfError when an offset or size is no sensible number
 */
export function readSegments(elf: ElfFile): ElfSegment[] {
  return readProgramHeaders(memorySource(elf.bytes), elf.header);
}

/**
 * Reads the program headers of a file that need not be in memory.
 *
 * @throws ElfError
 */
export function readProgramHeaders(source: ElfSource, header: ElfHeader): ElfSegment[] {
  const entry = LAYOUT[header.class].segment;
  const base = header.segmentOffset;
  const table = source.read(base, header.segmentCount * entry);
  const segments: ElfSegment[] = [];
  for (let index = 0; index < header.segmentCount; index++) {
    const reader = elfReader(table, header.littleEndian, `segment[${index}]`, base).seek(index * entry);
    const type = reader.u32();
    let flags = 0;
    if (header.class === 64) {
      flags = reader.u32();
      const offset = reader.size64();
      const address = reader.u64();
      reader.skip(8);
      const fileSize = reader.size64();
      const memorySize = reader.u64();
      segments.push({ index, type, flags, offset, fileSize, address, memorySize });
    } else {
      const offset = reader.u32();
      const address = BigInt(reader.u32());
      reader.skip(4);
      const fileSize = reader.u32();
      const memorySize = BigInt(reader.u32());
      flags = reader.u32();
      segments.push({ index, type, flags, offset, fileSize, address, memorySize });
    }
  }
  return segments;
}

/**
 * The place in the file of an address, as the `load` segments map it: what a uprobe wants for the address of a symbol.
 *
 * @param segments of the file
 * @param address in the memory of the program, before it is moved by the loader
 * @returns offset in bytes, `undefined` when no segment maps bytes of the file there
 *
 * @example
 * ```ts no-run
 * import { readFileSync } from "node:fs";
 *
 * const elf = readElf(readFileSync("/lib/x86_64-linux-gnu/libc.so.6"));
 * const malloc = readSymbols(elf, findSymbolTable(elf, "dynsym")!).find((symbol) => symbol.name === "malloc");
 * const place = fileOffset(readSegments(elf), malloc!.value);
 * ```
 */
export function fileOffset(segments: readonly ElfSegment[], address: bigint): number | undefined {
  for (const segment of segments) {
    if (segment.type !== SegmentType.load || address < segment.address) continue;
    const distance = address - segment.address;
    if (distance < BigInt(segment.fileSize)) return segment.offset + Number(distance);
  }
  return undefined;
}
