// Browser-safe.

export { type BtfSection, type BtfSections, readBtfSections } from "./btf-sections.ts";
export {
  BpfRelocation,
  ElfMachine,
  ElfType,
  SectionFlag,
  SectionType,
  SegmentFlag,
  SegmentType,
  SymbolBinding,
  SymbolType,
  SymbolVisibility,
} from "./constants.ts";
export type { LinkInput } from "./link/input.ts";
export { linkObjects } from "./link/link.ts";
export { createObjectSpec, type NewMap, type NewObject, type NewProgram } from "./object/create.ts";
export { jumpTableOffsets } from "./object/jump-tables.ts";
export { type ParseObjectOptions, parseObject } from "./object/parse.ts";
export { matchSection, SECTION_RULES, type SectionMatch, type SectionRule, sectionHint } from "./object/sections.ts";
export type * from "./object/spec.ts";
export { getVariable, setVariable } from "./object/variables.ts";
export { findSection, readElf, requireBpf, sectionData } from "./read.ts";
export { type RelocationTable, readRelocations, relocationSections } from "./relocations.ts";
export { writeObject } from "./save/write-object.ts";
export { fileOffset, readSegments } from "./segments.ts";
export { findSymbolTable, readSymbols, symbolExtent } from "./symbols.ts";
export type * from "./types.ts";
export {
  type ElfRelocationSpec,
  type ElfSectionSpec,
  type ElfSpec,
  type ElfSymbolSpec,
  writeElf,
} from "./write.ts";
