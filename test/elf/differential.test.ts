import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type ElfFile,
  type ElfSymbol,
  findSymbolTable,
  readElf,
  readRelocations,
  readSegments,
  readSymbols,
  relocationSections,
  SectionType,
  writeElf,
} from "../../src/elf/index.ts";
import { repository, requires, rounds, toolPath } from "../support/harness.ts";
import { fixture, respec } from "./build.ts";

const test = suite("elf/differential");

const objects = readdirSync(join(repository, "test/fixtures")).filter((name) => name.endsWith(".o"));

/** Programs and libraries that most machines have. */
const programs = [
  "/bin/sh",
  "/lib/x86_64-linux-gnu/libc.so.6",
  "/lib/aarch64-linux-gnu/libc.so.6",
  "/lib/ld-linux.so.2",
  // 75,000 symbols
  ...(rounds(0, 1) === 1 ? [process.execPath] : []),
]
  .filter((path) => existsSync(path))
  .map((path) => realpathSync(path));

/** What `llvm-readobj` prints of a file, as far as it is compared here. */
interface Readobj {
  readonly ElfHeader: Record<string, { readonly Value: number } & number>;
  readonly Sections: readonly {
    readonly Section: Record<string, number> & {
      Name: { Name: string };
      Type: { Value: number };
      Flags: { Value: number };
    };
  }[];
  readonly Symbols?: readonly { readonly Symbol: ReadobjSymbol }[];
  readonly DynamicSymbols?: readonly { readonly Symbol: ReadobjSymbol }[];
  readonly Relocations?: readonly {
    readonly SectionIndex: number;
    readonly Relocs: readonly {
      readonly Relocation: { Offset: number; Type: { Value: number }; Symbol: { Value: number }; Addend?: number };
    }[];
  }[];
}

interface ReadobjSymbol {
  readonly Name: { readonly Name: string };
  readonly Value: number;
  readonly Size: number;
  readonly Binding: { readonly Value: number };
  readonly Type: { readonly Value: number };
  readonly Other: { readonly Value: number };
  readonly Section: { readonly Value: number };
}

function readobj(path: string, relocations: boolean): Readobj {
  const flags = ["--file-headers", "--sections", "--symbols", "--dyn-syms", ...(relocations ? ["--relocations"] : [])];
  const out = execFileSync(toolPath("llvm-readobj")!, ["--elf-output-style=JSON", ...flags, path], {
    encoding: "utf8",
    maxBuffer: 1 << 30,
  });
  return (JSON.parse(out) as Readobj[])[0]!;
}

const SPECIAL: Readonly<Record<string, number>> = { undefined: 0, absolute: 0xfff1, common: 0xfff2 };

function ourSymbol({ name, value, size, binding, type, visibility, section }: ElfSymbol): unknown {
  const number = typeof section === "number" ? section : SPECIAL[section];
  return [name, Number(value), Number(size), binding, type, visibility, number];
}

function compare(path: string, elf: ElfFile, relocations: boolean): number {
  const theirs = readobj(path, relocations);
  let compared = 0;
  const same = (found: unknown, wanted: unknown, what: string): void => {
    assert.equal(found, wanted, `${path}: ${what}`);
    compared++;
  };
  const { header } = elf;
  same(header.machine, theirs.ElfHeader.Machine!.Value, "machine");
  same(Number(header.entry), theirs.ElfHeader.Entry, "entry");
  same(header.sectionOffset, theirs.ElfHeader.SectionHeaderOffset, "section headers");
  same(readSegments(elf).length, theirs.ElfHeader.ProgramHeaderCount, "program headers");
  same(
    elf.sections.map((s) => [
      s.name,
      s.type,
      s.flags,
      Number(s.address),
      s.offset,
      s.size,
      s.link,
      s.info,
      s.alignment,
      s.entrySize,
    ]),
    theirs.Sections.map(({ Section: s }) => [
      s.Name.Name,
      s.Type.Value,
      s.Flags.Value,
      s.Address,
      s.Offset,
      s.Size,
      s.Link,
      s.Info,
      s.AddressAlignment,
      s.EntrySize,
    ]),
    "sections",
  );
  for (const [kind, list] of [
    ["symtab", theirs.Symbols],
    ["dynsym", theirs.DynamicSymbols],
  ] as const) {
    const table = findSymbolTable(elf, kind);
    // Section symbols have no name of their own; llvm-readobj shows that of the section. It adds versions to others.
    const named = (symbol: ReadobjSymbol): string =>
      symbol.Type.Value === 3 ? "" : symbol.Name.Name.replace(/@.*/, "");
    same(
      table === undefined
        ? []
        : readSymbols(elf, table).map((s) => ourSymbol({ ...s, name: s.name.replace(/@.*/, "") })),
      (list ?? []).map(({ Symbol: s }) => {
        const section = s.Section.Value;
        return [named(s), s.Value, s.Size, s.Binding.Value, s.Type.Value, s.Other.Value & 3, section];
      }),
      kind,
    );
  }
  for (const table of relocations ? (theirs.Relocations ?? []) : []) {
    same(
      readRelocations(elf, elf.sections[table.SectionIndex]!).relocations.map((r) => [
        r.offset,
        r.type,
        r.symbol,
        r.addend === undefined ? undefined : Number(r.addend),
      ]),
      table.Relocs.map(({ Relocation: r }) => [r.Offset, r.Type.Value, r.Symbol.Value, r.Addend]),
      `relocations in section ${table.SectionIndex}`,
    );
  }
  if (relocations) same(relocationSections(elf).length, theirs.Relocations?.length ?? 0, "relocation sections");
  return compared;
}

requires(test, "tool:llvm-readobj")("llvm-readobj reads the same in every fixture", () => {
  assert.ok(objects.length >= 2);
  let tables = 0;
  for (const name of objects) {
    tables += compare(join(repository, "test/fixtures", name), readElf(fixture(name)), true);
  }
  console.log(`NOTE llvm-readobj agrees on ${objects.length} of ${objects.length} objects (${tables} tables)`);
});

requires(test, "tool:llvm-readobj")("llvm-readobj reads the same in programs and libraries of this machine", () => {
  for (const path of programs) compare(path, readElf(new Uint8Array(readFileSync(path))), false);
  console.log(`NOTE llvm-readobj agrees on ${programs.length} of ${programs.length} programs and libraries`);
});

test("elfy reads the same headers", () => {
  type Elfy = {
    readonly endian: string;
    readonly shoff: number;
    readonly body: {
      readonly sections: readonly {
        readonly name: string;
        readonly off: number;
        readonly size: number;
        readonly link: number;
        readonly info: number;
      }[];
    };
  };
  const elfy = createRequire(import.meta.url)("elfy") as { parse(bytes: Buffer): Elfy };
  for (const name of objects) {
    const bytes = fixture(name);
    const theirs = elfy.parse(Buffer.from(bytes));
    const elf = readElf(bytes);
    assert.is(theirs.endian, elf.header.littleEndian ? "lsb" : "msb");
    assert.is(theirs.shoff, elf.header.sectionOffset);
    assert.equal(
      theirs.body.sections.map(({ name, off, size, link, info }) => [name, off, size, link, info]),
      elf.sections.map(({ name, offset, size, link, info }) => [name, offset, size, link, info]),
    );
  }
  console.log(`NOTE elfy agrees on the headers of ${objects.length} of ${objects.length} objects`);
});

function inFolder(run: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "rawbpf-elf-"));
  try {
    run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

requires(test, "tool:llvm-readobj")("llvm-readobj reads what was written, without a warning", () => {
  inFolder((folder) => {
    for (const name of objects) {
      const path = join(folder, name);
      const bytes = writeElf(respec(readElf(fixture(name))));
      writeFileSync(path, bytes);
      compare(path, readElf(bytes), true);
      const result = spawnSync(toolPath("llvm-readobj")!, ["--all", path], { encoding: "utf8", maxBuffer: 1 << 28 });
      assert.is(result.stderr, "");
    }
  });
});

requires(test, "tool:llvm-objdump")(
  "llvm-objdump prints the same code, relocations and lines of source for what was written",
  () => {
    inFolder((folder) => {
      for (const name of objects) {
        const path = join(folder, name);
        writeFileSync(path, writeElf(respec(readElf(fixture(name)))));
        const dump = (of: string): string =>
          execFileSync(toolPath("llvm-objdump")!, ["-d", "-r", "-S", "--no-show-raw-insn", of], {
            encoding: "utf8",
          }).replaceAll(of, "");
        assert.is(dump(path), dump(join(repository, "test/fixtures", name)));
      }
    });
  },
);

// A mount namespace of its own: what is mounted is gone with the process, whatever happens to it.
requires(
  test,
  "sys-admin",
  "bpf",
  "tool:bpftool",
)("libbpf loads what was written", () => {
  inFolder((folder) => {
    const object = join(folder, "written.o");
    writeFileSync(object, writeElf(respec(readElf(fixture("packet-count.el.o")))));
    const script = 'mkdir "$1" && mount -t bpf bpf "$1" && "$2" prog loadall "$3" "$1/programs" && ls "$1/programs"';
    const result = spawnSync(
      "unshare",
      ["-m", "sh", "-c", script, "sh", join(folder, "bpffs"), toolPath("bpftool")!, object],
      {
        encoding: "utf8",
      },
    );
    assert.is(result.status, 0, result.stderr);
    assert.equal(result.stdout.trim().split("\n").sort(), ["count", "drop", "pass"]);
  });
});

test("sections keep their types", () => {
  const elf = readElf(writeElf(respec(readElf(fixture("packet-count.el.o")))));
  assert.is(elf.sections.filter((section) => section.type === SectionType.nobits).length, 1);
});

test.run();
