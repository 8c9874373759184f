import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fromHex, Writer } from "../../src/bytes/index.ts";
import {
  BpfRelocation,
  fileOffset,
  findSection,
  findSymbolTable,
  readBtfSections,
  readElf,
  readRelocations,
  readSegments,
  readSymbols,
  relocationSections,
  requireBpf,
  sectionData,
  symbolExtent,
} from "../../src/elf/index.ts";
import { ElfError } from "../../src/errors.ts";
import { fixture } from "./build.ts";

const test = suite("elf/read");

const STRINGS = "00 2e7300 612e7400 2e722e612e7400 66756e00 65787400"; // .s a.t .r.a.t fun ext
/** An object put together field by field, so that tests can bend single fields. */
function object(little: boolean, bits: 32 | 64 = 64): Uint8Array {
  const wide = bits === 64;
  const w = new Writer({ littleEndian: little, capacity: 1024 });
  const word = (value: number): unknown => (wide ? w.u64(value) : w.u32(value));
  const headerSize = wide ? 64 : 52;
  const symbolSize = wide ? 24 : 16;
  const relSize = wide ? 16 : 8;
  const sectionSize = wide ? 64 : 40;
  const names = fromHex(STRINGS);
  const align = (n: number): number => Math.ceil(n / 8) * 8;
  const codeAt = align(headerSize + names.length);
  const symbolsAt = codeAt + 16;
  const relAt = symbolsAt + 3 * symbolSize;
  const headersAt = align(relAt + relSize);
  w.bytes(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, little ? 1 : 2, 1, 0)).bytes(new Uint8Array(8));
  w.u16(1).u16(247).u32(1);
  word(0);
  word(0);
  word(headersAt);
  w.u32(0).u16(headerSize).u16(0).u16(0).u16(sectionSize).u16(5).u16(1);
  w.bytes(names).align(8);
  w.bytes(fromHex("8510000000ffffff 9500000000000000"));
  const symbol = (name: number, info: number, section: number, value: number, size: number): void => {
    if (wide) w.u32(name).u8(info).u8(0).u16(section).u64(value).u64(size);
    else w.u32(name).u32(value).u32(size).u8(info).u8(0).u16(section);
  };
  symbol(0, 0, 0, 0, 0);
  symbol(15, 0x12, 2, 0, 16);
  symbol(19, 0x20, 0, 0, 0);
  if (wide && little) w.u64(0).u32(10).u32(2);
  else if (wide) w.u64(0).u32(2).u32(10);
  else w.u32(0).u32((2 << 8) | 10);
  w.align(8);
  const section = (...f: [number, number, number, number, number, number, number, number, number]): void => {
    w.u32(f[0]).u32(f[1]);
    word(f[2]);
    word(0);
    word(f[3]);
    word(f[4]);
    w.u32(f[5]).u32(f[6]);
    word(f[7]);
    word(f[8]);
  };
  section(0, 0, 0, 0, 0, 0, 0, 0, 0);
  section(1, 3, 0, headerSize, names.length, 0, 0, 1, 0);
  section(4, 1, 6, codeAt, 16, 0, 0, 8, 0);
  section(8, 9, 0x40, relAt, relSize, 4, 2, 8, relSize);
  section(1, 2, 0, symbolsAt, 3 * symbolSize, 1, 1, 8, symbolSize);
  return w.finish();
}

for (const bits of [64, 32] as const) {
  for (const little of [true, false]) {
    test(`reads an object of ${bits} bits, ${little ? "little" : "big"}-endian`, () => {
      const bytes = object(little, bits);
      const elf = readElf(bytes);
      assert.is(elf.header.class, bits);
      assert.is(elf.header.littleEndian, little);
      assert.is(elf.header.machine, 247);
      assert.equal(
        elf.sections.map((section) => section.name),
        ["", ".s", "a.t", ".r.a.t", ".s"],
      );
      const code = findSection(elf, "a.t")!;
      assert.is(code.flags, 6);
      assert.is(code.alignment, 8);
      assert.is(sectionData(elf, code).buffer, bytes.buffer, "a view, not a copy");
      const symbols = readSymbols(elf);
      assert.equal(symbols[1], {
        index: 1,
        name: "fun",
        binding: 1,
        type: 2,
        visibility: 0,
        section: 2,
        value: 0n,
        size: 16n,
      });
      assert.is(symbols[2]!.name, "ext");
      assert.is(symbols[2]!.section, "undefined");
      assert.is(symbols[2]!.binding, 2);
      const table = readRelocations(elf, relocationSections(elf, code)[0]!);
      assert.is(table.target, code);
      assert.is(table.symbols, findSymbolTable(elf));
      assert.equal(table.relocations, [
        { index: 0, offset: 0, type: BpfRelocation["64_32"], symbol: 2, addend: undefined },
      ]);
      assert.equal(symbolExtent(elf, symbols[1]!), { section: code, offset: 0, size: 16 });
      if (bits === 64) assert.is(requireBpf(elf), elf);
    });
  }
}

/** {@link object} with some numbers changed: offset, bytes, value. */
function bent(
  ...changes: readonly (readonly [offset: number, bytes: 1 | 2 | 4 | 8, value: bigint | number])[]
): Uint8Array {
  const bytes = object(true);
  for (const [offset, size, value] of changes) {
    for (let i = 0; i < size; i++) bytes[offset + i] = Number((BigInt(value) >> BigInt(8 * i)) & 0xffn);
  }
  return bytes;
}

// Where things are in it.
const SYMBOLS = 104;
const RELOCATIONS = 176;

/** First byte of a section header of {@link object}. */
const header = (index: number): number => 192 + 64 * index;

test("finds the section headers where these tests think they are", () => {
  assert.is(readElf(object(true)).header.sectionOffset, header(0));
});

const whole = (bytes: Uint8Array): void => {
  const elf = requireBpf(readElf(bytes));
  readSymbols(elf);
  for (const section of relocationSections(elf)) readRelocations(elf, section);
  readBtfSections(elf);
  readSegments(elf);
  sectionData(elf, findSection(elf, "a.t")!);
};

const FAULTS: readonly (readonly [what: string, bytes: Uint8Array, message: string])[] = [
  [
    "nothing",
    new Uint8Array(0),
    "ELF truncated: need 16 bytes at offset 0 for the identification, file has 0 (header at byte 0)",
  ],
  [
    "4 bytes",
    object(true).slice(0, 4),
    "ELF truncated: need 16 bytes at offset 0 for the identification, file has 4 (header at byte 0)",
  ],
  [
    "63 bytes",
    object(true).slice(0, 63),
    "ELF truncated: need 64 bytes at offset 0 for the header, file has 63 (header at byte 0)",
  ],
  [
    "half",
    object(true).slice(0, 220),
    "ELF truncated: need 64 bytes at offset 192 for section header 0, file has 220 (header at byte 40)",
  ],
  [
    "one byte short",
    object(true).slice(0, -1),
    "ELF truncated: need 320 bytes at offset 192 for 5 section headers, file has 511 (header at byte 60)",
  ],
  ["text", fromHex("68656c6c6f"), "Not an ELF file: starts with 68 65 6c 6c, expected 7f 45 4c 46 (header at byte 0)"],
  ["class 3", bent([4, 1, 3]), "EI_CLASS is 3, expected 1 (32 bits) or 2 (64 bits) (header at byte 4)"],
  ["32 bits", object(true, 32), "Not a BPF object: EI_CLASS is 1 (32 bits), expected 2 (64 bits) (header at byte 4)"],
  ["bad EI_DATA", bent([5, 1, 0]), "EI_DATA is 0, expected 1 (little-endian) or 2 (big-endian) (header at byte 5)"],
  ["bad EI_VERSION", bent([6, 1, 2]), "EI_VERSION is 2, expected 1 (header at byte 6)"],
  ["bad e_version", bent([20, 4, 9]), "e_version is 9, expected 1 (header at byte 20)"],
  ["x86", bent([18, 2, 62]), "Not a BPF object: e_machine is 62 (x86_64), expected 247 (bpf) (header at byte 18)"],
  ["a program", bent([16, 2, 2]), "Not a BPF object: e_type is 2 (exec), expected 1 (rel) (header at byte 16)"],
  [
    "e_shoff past the end",
    bent([40, 8, 4096n]),
    "ELF truncated: need 64 bytes at offset 4096 for section header 0, file has 512 (header at byte 40)",
  ],
  [
    "e_shoff 2^64 - 1",
    bent([40, 8, 2n ** 64n - 1n]),
    "ELF truncated: need 64 bytes at offset 18446744073709551615 for section header 0, file has 512 (header at byte 40)",
  ],
  ["e_shoff 0", bent([40, 8, 0n]), "e_shoff is 0, expected the offset of 5 section headers (header at byte 40)"],
  [
    "no sections",
    bent([40, 8, 0n], [60, 2, 0]),
    "Not a BPF object: e_shoff is 0, expected the offset of section headers (header at byte 40)",
  ],
  ["e_shentsize 40", bent([58, 2, 40]), "e_shentsize is 40, expected 64 (header at byte 58)"],
  [
    "e_shnum 65279",
    bent([60, 2, 65279]),
    "ELF truncated: need 4177856 bytes at offset 192 for 65279 section headers, file has 512 (header at byte 60)",
  ],
  [
    "e_shnum 0 and no extended count",
    bent([60, 2, 0]),
    "e_shnum is 0, expected a count, here or in section 0 (header at byte 60)",
  ],
  [
    "extended count 2^40",
    bent([60, 2, 0], [header(0) + 32, 8, 2n ** 40n]),
    "ELF truncated: need 70368744177664 bytes at offset 192 for 1099511627776 section headers, file has 512 (header at byte 60)",
  ],
  [
    "e_shstrndx out of range",
    bent([62, 2, 5]),
    "e_shstrndx is 5, expected a section number below 5 (header at byte 62)",
  ],
  [
    "e_shstrndx extended out of range",
    bent([62, 2, 0xffff], [header(0) + 40, 4, 70000]),
    "e_shstrndx is 70000, expected a section number below 5 (header at byte 62)",
  ],
  [
    "e_shstrndx not a string table",
    bent([62, 2, 2]),
    "Type is 1 (progbits), expected 3 (strtab) for the names of sections (section[2])",
  ],
  [
    "e_shstrndx 0",
    bent([62, 2, 0]),
    "Not a BPF object: e_shstrndx is 0, expected the section with the names of sections (header at byte 62)",
  ],
  [
    "program headers outside",
    bent([54, 2, 56], [56, 2, 9], [32, 8, 500n]),
    "ELF truncated: need 504 bytes at offset 500 for 9 program headers, file has 512 (header at byte 32)",
  ],
  [
    "section offset beyond",
    bent([header(2) + 24, 8, 513n]),
    'ELF truncated: need 16 bytes at offset 513 for the section, file has 512 (section[2] "a.t" at byte 344)',
  ],
  [
    "section size 2^60",
    bent([header(2) + 32, 8, 2n ** 60n]),
    'ELF truncated: need 1152921504606846976 bytes at offset 88 for the section, file has 512 (section[2] "a.t" at byte 344)',
  ],
  [
    "section offset and size that wrap",
    bent([header(2) + 24, 8, 2n ** 64n - 16n], [header(2) + 32, 8, 32n]),
    'ELF truncated: need 32 bytes at offset 18446744073709551600 for the section, file has 512 (section[2] "a.t" at byte 344)',
  ],
  [
    "section flags",
    bent([header(2) + 12, 4, 1]),
    'Flags are 0x100000006, expected 32 bits (section[2] "a.t" at byte 328)',
  ],
  [
    "nobits of 2^63 bytes",
    bent([header(2) + 4, 4, 8], [header(2) + 32, 8, 2n ** 63n]),
    'Size is 9223372036854775808, expected at most 2^53 - 1 (section[2] "a.t" at byte 344)',
  ],
  [
    "nobits asked for data",
    bent([header(2) + 4, 4, 8], [header(2) + 24, 8, 1n << 50n]),
    'Type is 8 (nobits): the section has no bytes in the file (section[2] "a.t")',
  ],
  [
    "compressed",
    bent([header(2) + 9, 1, 8]),
    'The section is compressed (SHF_COMPRESSED) (section[2] "a.t" at byte 88)\nHint: Decompress it: objcopy --decompress-debug-sections',
  ],
  [
    "name out of range",
    bent([header(2), 4, 23]),
    "Name offset 23 is outside of section[1], which has 23 bytes (section[2] at byte 320)",
  ],
  [
    "strings without NUL",
    bent([header(1) + 32, 4, 20]),
    'Name at offset 19 of section[1] ".s" has no terminating NUL (section[4] ".s" symbol[2] at byte 152)',
  ],
  ["no symbol table", bent([header(4) + 4, 4, 1]), "No symbol table\nHint: Was the object stripped of its symbols?"],
  [
    "two symbol tables",
    bent([header(2) + 4, 4, 2]),
    'Second symbol table, the first is section[2] "a.t" (section[4] ".s")',
  ],
  ["symbol entry size", bent([header(4) + 56, 1, 16]), 'Entry size is 16, expected 24 (section[4] ".s")'],
  ["symbol table cut", bent([header(4) + 32, 1, 71]), 'Size 71 is no multiple of the entry size 24 (section[4] ".s")'],
  ["symbol table links nowhere", bent([header(4) + 40, 1, 77]), 'Links to section 77, there are 5 (section[4] ".s")'],
  [
    "symbol table links to code",
    bent([header(4) + 40, 1, 2]),
    'Links to section[2] "a.t" of type 1, expected 3 (strtab) (section[4] ".s")',
  ],
  [
    "symbol in section 9",
    bent([SYMBOLS + 24 + 6, 2, 9]),
    'Lies in section 9, there are 5 (section[4] ".s" symbol[1] at byte 128)',
  ],
  [
    "symbol with extended number",
    bent([SYMBOLS + 24 + 6, 2, 0xffff]),
    'Section number is in a table of extended numbers that lacks it (section[4] ".s" symbol[1] at byte 128)',
  ],
  ["relocation entry size", bent([header(3) + 56, 1, 24]), 'Entry size is 24, expected 16 (section[3] ".r.a.t")'],
  ["relocation of section 9", bent([header(3) + 44, 1, 9]), 'Changes section 9, there are 5 (section[3] ".r.a.t")'],
  ["relocation of section 0", bent([header(3) + 44, 1, 0]), 'Changes section 0, which is empty (section[3] ".r.a.t")'],
  [
    "relocation without symbols",
    bent([header(3) + 40, 1, 1]),
    'Links to section[1] ".s" of type 3 (strtab), expected a symbol table (section[3] ".r.a.t")',
  ],
  [
    "relocation of symbol 3",
    bent([RELOCATIONS + 12, 4, 3]),
    'Names symbol 3, there are 3 (section[3] ".r.a.t" relocation[0] at byte 176)',
  ],
  [
    "relocation outside",
    bent([RELOCATIONS, 1, 16]),
    'Offset 16 is outside of section[2] "a.t" of 16 bytes (section[3] ".r.a.t" relocation[0] at byte 176)',
  ],
  [
    "relocation at 2^63",
    bent([RELOCATIONS, 8, 2n ** 63n]),
    'Value 9223372036854775808 is too large (section[3] ".r.a.t" relocation[0] at byte 176)',
  ],
];

for (const [what, bytes, message] of FAULTS) {
  test(`refuses ${what}`, () => {
    assert.throws(
      () => whole(bytes),
      (error: unknown) => {
        assert.instance(error, ElfError);
        assert.is((error as ElfError).message, message);
        return true;
      },
    );
  });
}

test("refuses symbols that cross the end of their section", () => {
  for (const [value, size, found] of [
    [0n, 17n, "17 bytes at offset 0"],
    [17n, 0n, "0 bytes at offset 17"],
    [8n, 2n ** 63n, "9223372036854775808 bytes at offset 8"],
  ] as const) {
    const elf = readElf(object(true));
    const symbol = { ...readSymbols(elf)[1]!, value, size };
    assert.throws(
      () => symbolExtent(elf, symbol),
      (error: unknown) =>
        (error as Error).message === `${found} cross the end of section[2] "a.t" at 16 (symbol[1] "fun")`,
    );
  }
  const elf = readElf(object(true));
  assert.throws(() => symbolExtent(elf, readSymbols(elf)[2]!), /Lies in no section: undefined \(symbol\[2\] "ext"\)/);
});

test("survives sections that overlap, and refuses a file that is nothing but overlap", () => {
  const bytes = bent([header(2) + 24, 8, 80n]);
  whole(bytes);
  const count = 100;
  const w = new Writer({ capacity: 64 * (count + 3) });
  w.bytes(object(true).subarray(0, 40)).u64(64);
  w.u32(0).u16(64).u16(0).u16(0).u16(64).u16(count).u16(0);
  for (let i = 0; i < count; i++) {
    w.u32(0).u32(i === 0 ? 0 : 4);
    w.u64(0).u64(0).u64(0);
    w.u64(64 * count)
      .u32(0)
      .u32(0)
      .u64(1)
      .u64(24);
  }
  assert.throws(() => readElf(w.finish()), /Sections overlap: they add up to 8 times the 6464 bytes of the file/);
});

test("refuses names that overlap without end", () => {
  // Each of 500 symbols has one character less of the same long name.
  const w = new Writer();
  w.bytes(object(true).subarray(0, 40)).u64(64);
  w.u32(0).u16(64).u16(0).u16(0).u16(64).u16(3).u16(0);
  const symbolsAt = 64 + 3 * 64;
  const stringsAt = symbolsAt + 500 * 24;
  w.bytes(new Uint8Array(64));
  w.u32(0)
    .u32(2)
    .u64(0)
    .u64(0)
    .u64(symbolsAt)
    .u64(500 * 24)
    .u32(2)
    .u32(1)
    .u64(8)
    .u64(24);
  w.u32(0).u32(3).u64(0).u64(0).u64(stringsAt).u64(502).u32(0).u32(0).u64(1).u64(0);
  for (let i = 0; i < 500; i++)
    w.u32(i === 0 ? 0 : i)
      .u32(0)
      .u64(0)
      .u64(0);
  w.u8(0).bytes(new Uint8Array(500).fill(0x61)).u8(0);
  assert.throws(
    () => readSymbols(readElf(w.finish())),
    /Names of section\[2\] overlap: they add up to 16 times its length/,
  );
});

test("takes machine 0 for BPF, as libbpf", () => {
  whole(bent([18, 2, 0]));
});

for (const name of ["packet-count.el.o", "packet-count.eb.o"]) {
  test(`reads ${name}`, () => {
    const elf = requireBpf(readElf(fixture(name)));
    const { btf, btfExt, btfBase } = readBtfSections(elf);
    assert.is(btf!.path, ".BTF");
    assert.is(btf!.offset, findSection(elf, ".BTF")!.offset);
    assert.is(btfExt!.bytes.length, findSection(elf, ".BTF.ext")!.size);
    assert.is(btfBase, undefined);
    assert.is(new Set(readSymbols(elf).map((symbol) => symbol.name)).has("clamp"), true);
    assert.equal(readSegments(elf), []);
  });
}

test("reads this very program, and finds a function in it", () => {
  const elf = readElf(fixture("packet-count.el.o"));
  assert.is(fileOffset(readSegments(elf), 0n), undefined);
  const segments = [
    { index: 0, type: 6, flags: 4, offset: 64, fileSize: 784, address: 0x40n, memorySize: 784n },
    { index: 1, type: 1, flags: 5, offset: 0x2000, fileSize: 0x100, address: 0x403000n, memorySize: 0x200n },
  ];
  assert.is(fileOffset(segments, 0x403010n), 0x2010);
  assert.is(fileOffset(segments, 0x403100n), undefined, "behind what the file holds");
  assert.is(fileOffset(segments, 0x402fffn), undefined);
  assert.throws(() => requireBpf({ ...elf, header: { ...elf.header, machine: 183 } }), /e_machine is 183 \(aarch64\)/);
});

test.run();
