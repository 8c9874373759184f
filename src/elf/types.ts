// Browser-safe.

/** Fields of the ELF header. */
export interface ElfHeader {
  /** Width of addresses and offsets in the file, in bits. */
  readonly class: 32 | 64;
  /** Byte order of the file. */
  readonly littleEndian: boolean;
  /** `EI_OSABI`. */
  readonly osAbi: number;
  /** `EI_ABIVERSION`. */
  readonly abiVersion: number;
  /** One of `ElfType`, or another number. */
  readonly type: number;
  /** One of `ElfMachine`, or another number. */
  readonly machine: number;
  /** Address where a program starts; 0 in objects. */
  readonly entry: bigint;
  /** Flags that belong to the processor. */
  readonly flags: number;
  /** Offset of the program headers; 0 when there are none. */
  readonly segmentOffset: number;
  /** Number of program headers, extended numbering resolved. */
  readonly segmentCount: number;
  /** Offset of the section headers; 0 when there are none. */
  readonly sectionOffset: number;
  /** Number of section headers, the empty first one included, extended numbering resolved. */
  readonly sectionCount: number;
  /** Which section holds the names of the sections; 0 when none does. */
  readonly sectionNames: number;
}

/** A section header. */
export interface ElfSection {
  /** Its number. */
  readonly index: number;
  /** Its name; not unique. */
  readonly name: string;
  /** One of `SectionType`, or another number. */
  readonly type: number;
  /** Bits of `SectionFlag`. */
  readonly flags: number;
  /** Address in a loaded program; 0 in objects. */
  readonly address: bigint;
  /** First byte in the file. Of a section without bytes in the file (`nobits`), a number without meaning. */
  readonly offset: number;
  /** Bytes; of `nobits`, those that it takes in memory. */
  readonly size: number;
  /** Number of the section it goes with: a symbol table's strings, a relocation section's symbols. */
  readonly link: number;
  /** Depends on the type: of a relocation section, the section it changes. */
  readonly info: number;
  /** Alignment in bytes, as found. */
  readonly alignment: number;
  /** Bytes of one entry in sections of equal entries, else 0. */
  readonly entrySize: number;
}

/** Where a symbol lies when it lies in no section. */
export type SpecialSection = "undefined" | "absolute" | "common" | "reserved";

/** A symbol. */
export interface ElfSymbol {
  /** Its number in its table. */
  readonly index: number;
  /** Its name; empty for section symbols. */
  readonly name: string;
  /** One of `SymbolBinding`, or another number. */
  readonly binding: number;
  /** One of `SymbolType`, or another number. */
  readonly type: number;
  /** One of `SymbolVisibility`. */
  readonly visibility: number;
  /** Number of the section it lies in, or why it lies in none. */
  readonly section: number | SpecialSection;
  /** In objects the offset inside the section, in programs the address. */
  readonly value: bigint;
  /** Bytes; 0 when unknown. */
  readonly size: bigint;
}

/** A place in a section that depends on a symbol. */
export interface ElfRelocation {
  /** Its number in its section. */
  readonly index: number;
  /** In objects the offset inside the section that is changed, in programs the address. */
  readonly offset: number;
  /** Depends on the machine: one of `BpfRelocation`, say. */
  readonly type: number;
  /** Number of the symbol in the table that the relocation section links to; 0 is none. */
  readonly symbol: number;
  /** What is added to the symbol's value; `undefined` in `rel` sections, where it stands in the place itself. */
  readonly addend: bigint | undefined;
}

/** A program header: what is mapped into memory from where in the file. */
export interface ElfSegment {
  /** Its number. */
  readonly index: number;
  /** One of `SegmentType`, or another number. */
  readonly type: number;
  /** Bits of `SegmentFlag`. */
  readonly flags: number;
  /** First byte in the file. */
  readonly offset: number;
  /** Bytes in the file. */
  readonly fileSize: number;
  /** Address in memory. */
  readonly address: bigint;
  /** Bytes in memory. */
  readonly memorySize: bigint;
}

/** An ELF file as {@link readElf} has read it: plain data. */
export interface ElfFile {
  /** The whole file, by reference. */
  readonly bytes: Uint8Array;
  /** Its header. */
  readonly header: ElfHeader;
  /** Section headers by number; the first one is always empty. No elements when the file has none. */
  readonly sections: readonly ElfSection[];
}
