import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as elf from "../../src/elf/index.ts";

const test = suite("elf exports");

test("the module exports these names and no others", () => {
  const wanted = `
    BpfRelocation ElfMachine ElfType SECTION_RULES SectionFlag SectionType SegmentFlag SegmentType SymbolBinding SymbolType
    SymbolVisibility createObjectSpec fileOffset findSection findSymbolTable getVariable jumpTableOffsets linkObjects matchSection parseObject readBtfSections readElf readRelocations readSegments
    readSymbols relocationSections requireBpf sectionData sectionHint setVariable symbolExtent writeElf writeObject`;
  assert.equal(Object.keys(elf).sort(), wanted.trim().split(/\s+/).sort());
});

test.run();
