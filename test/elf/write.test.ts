import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode, exit, mov, r0 } from "../../src/asm/index.ts";
import { encodeUtf8, toHex } from "../../src/bytes/index.ts";
import {
  BpfRelocation,
  type ElfSpec,
  findSection,
  readElf,
  readRelocations,
  readSymbols,
  relocationSections,
  requireBpf,
  SectionFlag,
  SectionType,
  SymbolBinding,
  SymbolType,
  sectionData,
  writeElf,
} from "../../src/elf/index.ts";
import { ElfError } from "../../src/errors.ts";
import { rounds } from "../support/harness.ts";
import { fixture, respec } from "./build.ts";

const test = suite("elf/write");

test("writes a program that was assembled here", () => {
  const code = encode([mov(r0, 0), exit()]);
  const bytes = writeElf({
    sections: [
      { name: "socket", flags: SectionFlag.alloc | SectionFlag.execinstr, alignment: 8, data: code },
      { name: "license", flags: SectionFlag.alloc | SectionFlag.write, data: encodeUtf8("GPL\0") },
    ],
    symbols: [{ name: "main", type: SymbolType.func, section: 0, size: 16 }],
  });
  // Field by field as the format has it, so that reader and writer cannot be wrong in the same way.
  assert.is(
    toHex(bytes.subarray(0, 64)),
    "7f454c46020101000000000000000000" +
      "0100f700010000000000000000000000" +
      "0000000000000000b000000000000000" +
      "00000000400000000000400005000400",
  );
  assert.is(toHex(bytes.subarray(64, 84)), `${toHex(code)}47504c00`);
  assert.is(toHex(bytes.subarray(88, 136)), `${"00".repeat(24)}01000000${"12000100"}${"00".repeat(8)}1000000000000000`);
  assert.is(
    toHex(bytes.subarray(136, 176)),
    "006d61696e00736f636b6574006c6963656e7365002e73796d746162002e737472746162".concat("00".repeat(4)),
  );
  const elf = requireBpf(readElf(bytes));
  assert.equal(
    elf.sections.map((section) => section.name),
    ["", "socket", "license", ".symtab", ".strtab"],
  );
  assert.is(readSymbols(elf)[1]!.name, "main");
});

test("moves local symbols to the front and keeps relocations pointing at theirs", () => {
  for (const littleEndian of [true, false]) {
    const elf = readElf(
      writeElf({
        littleEndian,
        sections: [
          {
            name: ".text",
            data: new Uint8Array(16),
            relocations: [
              { offset: 0, type: BpfRelocation["64_32"], symbol: "far" },
              { offset: 8, type: BpfRelocation["64_64"], symbol: 1 },
            ],
          },
          {
            name: ".data",
            data: new Uint8Array(16),
            relocations: [{ offset: 8, type: BpfRelocation["64_abs64"], symbol: "weak", addend: -5n }],
          },
        ],
        symbols: [
          { name: "far" },
          { name: "near", binding: SymbolBinding.local, section: 0, value: 8, size: 8 },
          { name: "weak", binding: SymbolBinding.weak, section: "absolute", value: 2n ** 64n - 1n },
        ],
      }),
    );
    const symbols = readSymbols(elf);
    assert.equal(
      symbols.map((symbol) => symbol.name),
      ["", "near", "far", "weak"],
    );
    assert.is(symbols[3]!.section, "absolute");
    assert.is(symbols[3]!.value, 2n ** 64n - 1n);
    assert.is(findSection(elf, ".symtab")!.info, 2, "number of the first symbol that is not local");
    const [text, data] = relocationSections(elf).map((section) => readRelocations(elf, section));
    assert.is(text!.section.name, ".rel.text");
    assert.equal(
      text!.relocations.map(({ offset, type, symbol }) => [offset, type, symbols[symbol]!.name]),
      [
        [0, 10, "far"],
        [8, 1, "near"],
      ],
    );
    assert.is(data!.section.name, ".rela.data");
    assert.equal(data!.relocations, [{ index: 0, offset: 8, type: 2, symbol: 3, addend: -5n }]);
  }
});

test("more sections than the header can count", () => {
  const count = 0xff10;
  const sections = Array.from({ length: count }, (_, i) => ({ name: `s${i % 7}`, data: Uint8Array.of(i & 0xff) }));
  const elf = readElf(
    writeElf({
      sections,
      symbols: [
        { name: "first", section: 0 },
        { name: "last", section: count - 1 },
      ],
    }),
  );
  assert.is(elf.header.sectionCount, count + 4);
  assert.is(elf.bytes[60]! + elf.bytes[61]!, 0, "the count is not in the header");
  const symbols = readSymbols(elf);
  assert.is(symbols[1]!.section, 1);
  assert.is(symbols[2]!.section, count);
  assert.is(elf.sections[count]!.name, `s${(count - 1) % 7}`);
  assert.equal(sectionData(elf, elf.sections[count]!), Uint8Array.of((count - 1) & 0xff));
});

for (const name of ["packet-count.el.o", "packet-count.eb.o"]) {
  test(`writes ${name} again with everything that it holds`, () => {
    const spec = respec(readElf(fixture(name)));
    const again = readElf(writeElf(spec));
    assert.equal(respec(again), spec);
  });
}

test("any object reads back as it was written", () => {
  const u64 = fc.bigInt(0n, 2n ** 64n - 1n);
  const name = fc.string({ maxLength: 8 }).map((text) => text.replaceAll("\0", ""));
  const section = fc.record(
    {
      name,
      type: fc.constantFrom(SectionType.progbits, SectionType.note, 0x70000001),
      flags: fc.nat(0xffffffff).map((flags) => (flags & ~SectionFlag.compressed) >>> 0),
      alignment: fc.constantFrom(1, 2, 8, 64),
      entrySize: fc.nat(100),
      data: fc.uint8Array({ maxLength: 40 }),
    },
    { noNullPrototype: true },
  );
  const symbol = fc.record(
    {
      name,
      binding: fc.constantFrom(0, 1, 2),
      type: fc.constantFrom(0, 1, 2, 3),
      visibility: fc.nat(3),
      section: fc.oneof(fc.nat(2), fc.constantFrom("undefined", "absolute", "common")),
      value: u64,
      size: u64,
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.array(section, { minLength: 3, maxLength: 6 }),
      fc.array(symbol, { maxLength: 6 }),
      fc.array(fc.tuple(fc.nat(), fc.nat(0xffffffff), fc.nat(), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)), {
        maxLength: 4,
      }),
      fc.boolean(),
      (littleEndian, sections, symbols, places, addends) => {
        const first = sections[0]!;
        const relocations =
          first.data.length === 0 || symbols.length === 0
            ? []
            : places.map(([offset, type, position, addend]) => ({
                offset: offset % first.data.length,
                type,
                symbol: position % symbols.length,
                addend: addends ? addend : undefined,
              }));
        const spec: ElfSpec = {
          littleEndian,
          sections: [{ ...first, relocations }, ...sections.slice(1)],
          symbols: symbols as ElfSpec["symbols"],
        };
        const elf = readElf(writeElf(spec));
        assert.equal(
          elf.sections.slice(1, 1 + sections.length).map((found, i) => ({
            name: found.name,
            type: found.type,
            flags: found.flags,
            alignment: found.alignment,
            entrySize: found.entrySize,
            data: Uint8Array.from(sectionData(elf, elf.sections[i + 1]!)),
          })),
          sections,
        );
        for (const found of elf.sections)
          assert.is(found.alignment === 0 || found.offset % found.alignment === 0, true);
        const table = readSymbols(elf);
        const key = (s: {
          name: string;
          binding: number;
          type: number;
          visibility: number;
          value: bigint;
          size: bigint;
        }): string => [s.name, s.binding, s.type, s.visibility, s.value, s.size].join();
        assert.equal(table.slice(1).map(key).sort(), symbols.map(key).sort());
        const read = relocationSections(elf).flatMap((each) => readRelocations(elf, each).relocations);
        assert.equal(
          read.map((r) => [r.offset, r.type, key(table[r.symbol]!), r.addend]),
          relocations.map((r) => [r.offset, r.type, key(symbols[r.symbol]!), r.addend]),
        );
      },
    ),
    { numRuns: rounds(200, 3000) },
  );
});

test("refuses what cannot be written", () => {
  const data = new Uint8Array(8);
  const cases: readonly (readonly [ElfSpec, RegExp])[] = [
    [
      { sections: [{ name: "a", type: SectionType.symtab }] },
      /Type is 2: give symbols and relocations by their own fields \(section\[1\] "a"\)/,
    ],
    [{ sections: [{ name: "a", type: SectionType.nobits, data }] }, /Type is 8 \(nobits\), but has bytes/],
    [{ sections: [{ name: "a", data, size: 9 }] }, /Size is 9, but has 8 bytes/],
    [{ sections: [{ name: "a", data, alignment: 3 }] }, /Alignment is 3, expected a power of two/],
    [{ sections: [{ name: "a", data, link: "b" }] }, /Names section b, which does not exist/],
    [{ sections: [{ name: "a\0b", data }] }, /Name "a\\u0000b" has a NUL/],
    [{ sections: [], symbols: [{ name: "s", section: 0 }] }, /Names section 0, which does not exist \(symbol "s"\)/],
    [{ sections: [], symbols: [{ name: "s", section: "reserved" }] }, /Section "reserved" cannot be written/],
    [
      { sections: [{ name: "a", data, relocations: [{ offset: 8, type: 1, symbol: "s" }] }], symbols: [{ name: "s" }] },
      /Offset 8 is outside of 8 bytes \(section\[1\] "a" relocation\[0\]\)/,
    ],
    [
      { sections: [{ name: "a", data, relocations: [{ offset: 0, type: 1, symbol: "x" }] }] },
      /Names symbol x, which does not exist/,
    ],
    [
      { sections: [{ name: "a", data, relocations: [{ offset: 0, type: 1, symbol: 3 }] }] },
      /Names symbol 3, which does not exist/,
    ],
    [
      {
        sections: [{ name: "a", data, relocations: [{ offset: 0, type: 1, symbol: "s" }] }],
        symbols: [{ name: "s" }, { name: "s" }],
      },
      /Several symbols are called "s": give the position/,
    ],
    [
      {
        sections: [
          {
            name: "a",
            data,
            relocations: [
              { offset: 0, type: 1, symbol: "s" },
              { offset: 0, type: 1, symbol: "s", addend: 1n },
            ],
          },
        ],
        symbols: [{ name: "s" }],
      },
      /Some relocations of the section have an addend, others have none/,
    ],
  ];
  for (const [spec, message] of cases) {
    assert.throws(
      () => writeElf(spec),
      (error: unknown) => error instanceof ElfError && message.test(error.message),
      String(message),
    );
  }
  assert.throws(() => writeElf({ sections: [{ name: "a", flags: -1 }] }), /does not fit u64/);
});

test.run();
