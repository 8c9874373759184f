import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type BtfTypeSpec, encodeBtf, openBtf, toC } from "../../../src/btf/index.ts";
import { compileBpf, inDirectory, run } from "../../support/clang.ts";
import { elfSections } from "../../support/elf-sections.ts";
import { requires, rounds, toolPath } from "../../support/harness.ts";
import { randomNumbers } from "../support/random.ts";
import { compareLayouts, type LayoutComparison } from "./layouts.ts";

const test = suite("btf/print/c-compiled");

let opened: Btf | undefined;
function kernel(): Btf {
  opened ??= openBtf(new Uint8Array(readFileSync("/sys/kernel/btf/vmlinux")));
  return opened;
}

let printed: string | undefined;
function kernelHeader(): string {
  printed ??= toC(kernel());
  return printed;
}

function noDifference(comparison: LayoutComparison, what: string): void {
  const { compared, members, differences } = comparison;
  assert.equal(differences.slice(0, 20), []);
  console.log(`NOTE ${what}: ${compared.size} structs and unions with ${members} members are laid out the same`);
}

requires(
  test,
  "kernel-btf",
  "tool:gcc>=12",
)("every struct of this kernel, compiled by gcc", () => {
  const btf = kernel();
  const comparison = compareLayouts(btf, { compiler: "gcc" });
  noDifference(comparison, "gcc");
  // Nothing is left out but anonymous structs that no declaration has.
  for (const type of btf.types()) {
    if (type.kind !== "struct" && type.kind !== "union") continue;
    if (type.name !== "") assert.ok(comparison.compared.has(type.id), `${type.kind} ${type.name} [${type.id}]`);
  }
});

// clang takes half a minute for all of them: its BTF emitter goes through all structs for each that is pointed to.
requires(
  test,
  "kernel-btf",
  "tool:clang",
)("structs of this kernel, compiled by clang for BPF", () => {
  const btf = kernel();
  const step = rounds(24, 1);
  const parts = step === 1 ? 8 : 1;
  let total: LayoutComparison = { compared: new Set(), members: 0, differences: [] };
  for (let part = 0; part < parts; part++) {
    const only = (id: number): boolean => (step === 1 ? id % parts === part : id % step === 0 || hasBits(btf, id));
    const { compared, members, differences } = compareLayouts(btf, { only });
    total = {
      compared: new Set([...total.compared, ...compared]),
      members: total.members + members,
      differences: [...total.differences, ...differences],
    };
  }
  noDifference(total, "clang");
});

function hasBits(btf: Btf, id: number): boolean {
  const type = btf.resolve(id);
  return type.kind === "struct" && type.members.some((member) => member.bitfieldSize > 0);
}

requires(
  test,
  "kernel-btf",
  "tool:clang",
)("the header compiles as C11 and as C23", () => {
  const files = { "vmlinux.h": kernelHeader(), "main.c": '#include "vmlinux.h"\nstruct task_struct *task;\n' };
  for (const standard of ["gnu11", "gnu23"]) {
    inDirectory(files, (directory) =>
      run(
        toolPath("clang")!,
        ["--target=bpf", `-std=${standard}`, "-Wall", "-Werror", "-fsyntax-only", "main.c"],
        directory,
      ),
    );
  }
});

// Layouts that come of attributes, one after the other what a kernel has somewhere.
const SOURCE = `
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef u64 __attribute__((aligned(4))) compat_u64;
struct plain { u8 a; u32 b; u8 c; u64 d; u16 e; };
struct __attribute__((packed)) packed { u8 a; u32 b; u64 c; u16 d; };
struct __attribute__((packed, aligned(4))) packed_aligned { u8 a; u32 b; u8 c; };
struct holder { u8 a; struct packed p; struct packed_aligned q; u8 b; struct packed r[3]; };
struct aligned_member { u8 a; u32 b __attribute__((aligned(64))); u8 c; };
struct __attribute__((aligned(128))) aligned_struct { u32 a; };
struct of_aligned { u8 a; struct aligned_struct s; u8 b; };
union __attribute__((aligned(16))) aligned_union { u8 a[5]; u32 b; };
union __attribute__((packed)) packed_union { u32 a; u8 b[5]; };
struct of_unions { u8 a; union aligned_union u; u8 b; union packed_union v; u8 c; };
struct compat { u32 a; compat_u64 b; u32 c; };
struct of_compat { u8 a; struct compat c; u64 d; };
struct bits { u32 a : 3; u32 : 0; u32 b : 5; u32 : 7; u64 c : 40; u8 d : 4; u8 e : 5; int f : 1; u16 g; u8 h : 1; };
struct gaps { u32 : 31; u32 a : 1; u64 : 20; u64 b : 9; u64 : 0; u8 c : 1; u32 d; u32 e : 1; u32 : 4; u32 f : 1; };
struct __attribute__((packed)) packed_bits { u8 a : 3; u32 b : 32; u64 c : 61; u8 d; u32 e : 17; u16 f; u8 : 3; u8 g : 5; };
struct __attribute__((packed)) packed_hole { u8 a; u32 : 24; u32 : 7; u32 b : 5; u64 c; u16 : 12; };
struct trailing { u64 a; u8 b; u64 : 64; u32 : 3; };
struct only_padding { u32 : 32; u64 : 64; };
struct empty {};
struct of_empty { struct empty e; int a; struct empty f[3]; };
struct flexible { u32 n; u16 data[]; };
struct of_flexible { u8 a; struct flexible f; };
struct zero_length { u8 a; u64 mark[0]; u8 b; };
enum __attribute__((packed)) tiny { TINY }; enum wide { WIDE = 1ull << 40 };
struct enums { enum tiny a; enum wide b; enum tiny c; enum tiny d : 3; enum wide e : 50; };
struct anonymous {
  u8 a; struct { u8 b; u64 c; } __attribute__((packed)); union { u32 d; struct { u16 e; u8 f; }; u64 g : 33; };
  struct { u8 h : 2; u8 i : 7; } j[2]; struct __attribute__((aligned(32))) { u8 k; } l;
};
struct int128 { u8 a; __int128 b; u8 c; unsigned __int128 d : 100; };
struct booleans { _Bool a : 1; _Bool b; _Bool c : 1; u32 d : 31; };
struct floats { u8 a; double b; float c; u8 d; };
typedef struct { u8 a; u32 b; } named_t; typedef union { u8 a; named_t b; } of_named_t;
struct pointers {
  u8 a; void (*f)(struct packed p, named_t n, ...); struct { u8 x; u32 y; } *anonymous; named_t (*arrays)[3]; u8 b;
  int (*(*matrix[2])(u8))[4];
};
struct user { int __attribute__((btf_type_tag("user"))) *p; const char __attribute__((btf_type_tag("rcu"))) *const *q; };
#define USE(type, name) type use_##name;
USE(struct plain, 1) USE(struct holder, 2) USE(struct aligned_member, 3) USE(struct of_aligned, 4)
USE(struct of_unions, 5) USE(struct of_compat, 6) USE(struct bits, 7) USE(struct gaps, 8) USE(struct packed_bits, 9)
USE(struct packed_hole, 10) USE(struct trailing, 11) USE(struct only_padding, 12) USE(struct of_empty, 13)
USE(struct of_flexible, 14) USE(struct zero_length, 15) USE(struct enums, 16) USE(struct anonymous, 17)
USE(struct int128, 18) USE(struct booleans, 19) USE(struct floats, 20) USE(of_named_t, 21) USE(struct pointers, 22)
USE(struct user, 23)
`;

for (const bigEndian of [false, true]) {
  requires(test, "tool:clang>=19")(`attributes and bit fields, ${bigEndian ? "big" : "little"}-endian`, () => {
    const btf = openBtf(elfSections(compileBpf({ "main.c": SOURCE }, { bigEndian })).get(".BTF")!);
    const comparison = compareLayouts(btf);
    noDifference(comparison, "attributes");
    assert.ok(comparison.compared.size >= 38, `${comparison.compared.size} compared`);
    // Type tags survive as well.
    const again = compileBpf(
      { "main.c": `${toC(btf, undefined, { guard: false })}\nstruct user user;` },
      { bigEndian },
    );
    const tags = [...openBtf(elfSections(again).get(".BTF")!).types()].filter(({ kind }) => kind === "type_tag");
    assert.equal(tags.map(({ name }) => name).sort(), ["rcu", "user"]);
  });
}

/** Structs with members of any type at any place that the type, or `packed`, allows. */
function randomStructs(seed: number, count: number): BtfTypeSpec[] {
  const below = randomNumbers(seed);
  const types: BtfTypeSpec[] = [
    { kind: "int", name: "unsigned char", size: 1 },
    { kind: "int", name: "short", size: 2, signed: true },
    { kind: "int", name: "unsigned int", size: 4 },
    { kind: "int", name: "long long", size: 8, signed: true },
    { kind: "int", name: "unsigned __int128", size: 16 },
    { kind: "int", name: "_Bool", size: 1, bool: true },
    { kind: "ptr", type: 0 },
    { kind: "array", type: 2, indexType: 3, length: 3 },
  ];
  const sizes = [0, 1, 2, 4, 8, 16, 1, 8, 6];
  const alignments = [1, 1, 2, 4, 8, 16, 1, 8, 2];
  for (let i = 0; i < count; i++) {
    const union = below(6) === 0;
    const loose = below(3) === 0;
    let at = 0;
    let widest = 1;
    const members: { name: string; type: number; bitOffset: number; bitfieldSize: number }[] = [];
    for (let n = below(8); n > 0; n--) {
      const type = 1 + below(sizes.length - 1);
      const name = `m${members.length}`;
      if (below(2) === 0 && type <= 4) {
        const unit = 8 * sizes[type]!;
        const bitfieldSize = 1 + below(unit);
        at += below(4) === 0 ? below(80) : 0;
        // Where it would not fit beside what is before it, a compiler moves it, unless it is packed.
        if (!loose && (at % unit) + bitfieldSize > unit) at = Math.ceil(at / unit) * unit;
        members.push({ name, type, bitOffset: union ? 0 : at, bitfieldSize });
        at = union ? Math.max(at, bitfieldSize) : at + bitfieldSize;
      } else {
        const alignment = 8 * (loose ? 1 : alignments[type]!);
        at = Math.ceil(at / alignment) * alignment + (below(4) === 0 ? alignment * below(12) : 0);
        members.push({ name, type, bitOffset: union ? 0 : at, bitfieldSize: 0 });
        at = union ? Math.max(at, 8 * sizes[type]!) : at + 8 * sizes[type]!;
      }
      widest = Math.max(widest, alignments[type]!);
    }
    if (union) at = members.reduce((most, m) => Math.max(most, m.bitfieldSize || 8 * sizes[m.type]!), 0);
    const unit = loose ? 1 : widest;
    const grow = !union && below(3) === 0 ? unit * below(10) : 0;
    const size = Math.ceil(at / 8 / unit) * unit + grow;
    types.push({ kind: union ? "union" : "struct", name: `s${i}`, size, members });
    sizes.push(size);
    // What the compiler gives it, as far as it is known here: a packed one has none.
    alignments.push(loose || size === 0 ? 1 : widest);
  }
  return types;
}

requires(test, "tool:clang")("random layouts, compiled by clang", () => {
  for (let seed = 0; seed < rounds(2, 12); seed++) {
    const btf = openBtf(encodeBtf(randomStructs(seed, 300), { littleEndian: seed % 2 === 0 }));
    noDifference(compareLayouts(btf), "random structs, clang");
  }
});

requires(test, "tool:gcc>=12")("random layouts, compiled by gcc", () => {
  for (let seed = 100; seed < rounds(102, 112); seed++) {
    const btf = openBtf(encodeBtf(randomStructs(seed, 300)));
    noDifference(compareLayouts(btf, { compiler: "gcc" }), "random structs, gcc");
  }
});

/** Definitions of a header without white space, and what each of them is called by. */
function definitions(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const part of text.replace(/^#.*$/gm, "").split(/\n\n|^(?=extern )/m)) {
    const plain = part.replace(/\s+/g, "");
    // Forward declarations stand where they are needed, which depends on the order.
    if (plain.includes(";") && !/^(struct|union)\w+;$/.test(plain)) found.set(plain, part.trim());
  }
  return found;
}

/** Without the numbers of names that occur again: which of two types of one name comes first depends on the order. */
function unnumbered(plain: string): string {
  return plain.replace(/___\d+/g, "");
}

/**
 * Without what fills holes. There is more than one way to do that: `long: 0` goes to the next eight bytes as well as
 * `long: 56` does, and a struct that has a 128-bit member, as `kmem_cache_cpu`, needs nothing at its end, which bpftool
 * does not know. It leaves a union empty whose members the BTF does not tell (`release_pages_arg`), which makes it too
 * small. That ours are right is for the compilers to say, above.
 */
function unpadded(plain: string): string {
  return unnumbered(plain).replace(/\b(char|short|int|long):\d+;/g, "");
}

requires(
  test,
  "kernel-btf",
  "tool:bpftool>=7.5",
)("definitions that bpftool writes in the same way", () => {
  const theirs = definitions(
    run(toolPath("bpftool")!, ["btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]),
  );
  const ours = definitions(kernelHeader());
  const oursUnnumbered = new Set([...ours.keys()].map(unnumbered));
  const oursUnpadded = new Set([...ours.keys()].map(unpadded));
  let same = 0;
  let renumbered = 0;
  let padded = 0;
  let builtIn = 0;
  const rest: string[] = [];
  for (const [plain, text] of theirs) {
    if (ours.has(plain)) same++;
    else if (oursUnnumbered.has(unnumbered(plain))) renumbered++;
    else if (oursUnpadded.has(unpadded(plain))) padded++;
    // What `va_list` is depends on the compiler's target, so ours says what it was for the kernel.
    else if (plain.includes("__builtin_va_list")) builtIn++;
    else rest.push(text);
  }
  console.log(
    `NOTE bpftool: ${same} of ${theirs.size} definitions are the same, ${renumbered} but for a number of a name, ` +
      `${padded} but for how holes are filled, ${builtIn} but for va_list, ${rest.length} differ`,
  );
  assert.ok(rest.length <= theirs.size / 2000, `these differ:\n${rest.slice(0, 10).join("\n")}`);
});

test.run();
