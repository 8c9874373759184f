import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type BtfTypeSpec, codec, encodeBtf, openBtf } from "../../../src/btf/index.ts";
import { fromHex, toHex } from "../../../src/bytes/index.ts";
import { compileBpf } from "../../support/clang.ts";
import { elfSections } from "../../support/elf-sections.ts";
import { requires } from "../../support/harness.ts";

const test = suite("btf/values/abi");

// Each variable has a section of its own, so that the section is its bytes as the compiler laid them out. The values
// beside them were written by hand from the initialisers.
const SOURCE = `
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
#define VALUE(name) __attribute__((section(".value." #name), used))

struct scalars {
  char c; signed char sc; unsigned char uc; short s; unsigned short us; int i; unsigned u; long long ll;
  unsigned long long ull; __int128 wide; unsigned __int128 uwide; _Bool yes; _Bool no; float f; double d;
};
struct scalars scalars VALUE(scalars) = {
  'A', -5, 250, -30000, 60000, -2000000000, 4000000000u, -0x7edcba9876543210ll, 0xfedcba9876543210ull,
  -((__int128)1 << 100) - 7, ((unsigned __int128)0x123456789abcdef0ull << 64) | 0x0fedcba987654321ull,
  1, 0, -1.5f, 3.0e100,
};

enum color { RED, GREEN = 5, BLUE = 1000000 };
enum temperature { COLD = -40, MILD = 15 };
enum __attribute__((packed)) tiny { T0, T1, T200 = 200 };
enum large { L_SMALL = 1, L_HUGE = 0xf000000000000001ull };
enum negative { N_LOW = -0x7000000000000000ll, N_ONE = 1 };
struct enums {
  enum color known, unknown; enum temperature cold, strange; enum tiny t; enum large l, l_unknown; enum negative n;
};
struct enums enums VALUE(enums) = {
  GREEN, (enum color)7, COLD, (enum temperature)-3, T200, L_HUGE, (enum large)0x100000000ull, N_LOW,
};

struct bits {
  int a : 3; unsigned b : 7; u64 c : 33; int : 4; int d : 5; unsigned e : 32; _Bool f : 1; enum color g : 4;
  long long h : 64; signed char i : 8; unsigned j : 1; long long k : 40; enum temperature l : 7;
};
struct bits bits VALUE(bits) = {
  -3, 100, 0x123456789ull, -16, 0xdeadbeefu, 1, GREEN, -2, -128, 1, -0x7fffffffffll, COLD,
};
struct __attribute__((packed)) packed_bits { u8 a : 3; u32 b : 32; u64 c : 61; int d : 29; u8 e : 3; u64 f : 64; };
struct packed_bits packed_bits VALUE(packed_bits) = {
  5, 0x89abcdefu, 0x1eadbeefcafef00dull, -123456789, 6, 0xfedcba9876543210ull,
};

struct point { int x, y; };
struct arrays {
  char name[16]; char full[4]; char text[2][8]; u8 mac[6]; signed char sbytes[3]; int matrix[2][3];
  struct point points[2]; enum color colors[2]; _Bool flags[3]; u64 counts[2]; void *pointers[2];
};
struct arrays arrays VALUE(arrays) = {
  "hello", {'a', 'b', 'c', 'd'}, {"one", "two"}, {0xde, 0xad, 0xbe, 0xef, 0, 1}, {-1, 0, 1}, {{1, -2, 3}, {4, 5, -6}},
  {{1, 2}, {-3, -4}}, {RED, BLUE}, {1, 0, 1}, {1, 0xffffffffffffffffull}, {0, (void *)0xffff888012345678ull},
};

struct nested {
  int id;
  struct { short a; union { u32 word; u8 bytes[4]; struct { unsigned short low, high; }; }; };
  union { struct point at; long long raw; } where;
  const volatile struct point *p;
  struct { int x; struct { int y; } in; } named;
};
struct nested nested VALUE(nested) = {
  1, {-2, {.word = 0x01020304}}, {.at = {-1, 2}}, (void *)0x1000, {7, {8}},
};

struct flexible { unsigned short n; struct point first; short rest[]; };
struct flexible flexible VALUE(flexible) = { 3, {1, 2}, {-1, 2, -3} };

u32 counter VALUE(counter) = 77;
`;

const swap = (hex: string, size: number): string => toHex(fromHex(hex).subarray(-size).slice().reverse());

/** Values whose bytes differ with the order of bytes. */
const expected = (littleEndian: boolean): Record<string, unknown> => ({
  scalars: {
    c: 65,
    sc: -5,
    uc: 250,
    s: -30000,
    us: 60000,
    i: -2000000000,
    u: 4000000000,
    ll: -0x7edcba9876543210n,
    ull: 0xfedcba9876543210n,
    wide: -(1n << 100n) - 7n,
    uwide: (0x123456789abcdef0n << 64n) | 0x0fedcba987654321n,
    yes: true,
    no: false,
    f: -1.5,
    d: 3.0e100,
  },
  enums: {
    known: "GREEN",
    unknown: 7,
    cold: "COLD",
    strange: -3,
    t: "T200",
    l: "L_HUGE",
    l_unknown: 0x100000000n,
    n: "N_LOW",
  },
  bits: {
    a: -3,
    b: 100,
    c: 0x123456789n,
    d: -16,
    e: 0xdeadbeef,
    f: true,
    g: "GREEN",
    h: -2n,
    i: -128,
    j: 1,
    k: -0x7fffffffffn,
    l: "COLD",
  },
  packed_bits: { a: 5, b: 0x89abcdef, c: 0x1eadbeefcafef00dn, d: -123456789, e: 6, f: 0xfedcba9876543210n },
  arrays: {
    name: "hello",
    full: "abcd",
    text: ["one", "two"],
    mac: Uint8Array.of(0xde, 0xad, 0xbe, 0xef, 0, 1),
    sbytes: [-1, 0, 1],
    matrix: [
      [1, -2, 3],
      [4, 5, -6],
    ],
    points: [
      { x: 1, y: 2 },
      { x: -3, y: -4 },
    ],
    colors: ["RED", "BLUE"],
    flags: [true, false, true],
    counts: [1n, 0xffffffffffffffffn],
    pointers: [0n, 0xffff888012345678n],
  },
  nested: {
    id: 1,
    a: -2,
    word: 0x01020304,
    bytes: fromHex(littleEndian ? swap("01020304", 4) : "01020304"),
    low: littleEndian ? 0x0304 : 0x0102,
    high: littleEndian ? 0x0102 : 0x0304,
    where: {
      at: { x: -1, y: 2 },
      raw: littleEndian ? 0x00000002ffffffffn : BigInt.asIntN(64, 0xffffffff00000002n),
    },
    p: 0x1000n,
    named: { x: 7, in: { y: 8 } },
  },
  flexible: { n: 3, first: { x: 1, y: 2 }, rest: [-1, 2, -3] },
  counter: 77,
});

/** Bit fields in the old encoding: width and distance in an integer of their own. */
function oldBitfields(btf: Btf, unit: "whole" | "split"): Btf {
  const types: BtfTypeSpec[] = [...btf.types()];
  const specs = types.map((type): BtfTypeSpec => {
    if (type.kind !== "struct" && type.kind !== "union") return type;
    const members = type.members.map((member) => {
      const of = btf.resolve(member.type);
      const { bitfieldSize: bits = 0, bitOffset: at = 0 } = member;
      if (bits === 0 || of.kind !== "int") return member;
      // Either the member says where the bits are, or the integer says where in its storage.
      const bitOffset = unit === "whole" ? 0 : at % 8;
      // Storage that the bits fit into, which that of a packed struct may not be.
      const size = unit === "whole" ? of.size : [1, 2, 4, 8, 16].find((bytes) => bytes * 8 >= bitOffset + bits)!;
      types.push({ ...of, size, bits, bitOffset });
      return { ...member, type: types.length, bitOffset: at - bitOffset, bitfieldSize: 0 };
    });
    return { ...type, members };
  });
  return openBtf(encodeBtf([...specs, ...types.slice(specs.length)], { littleEndian: btf.littleEndian }));
}

for (const littleEndian of [true, false]) {
  const order = littleEndian ? "little" : "big";
  let sections: Map<string, Uint8Array>;
  let btf: Btf;
  const compile = (): void => {
    sections ??= elfSections(compileBpf({ "main.c": SOURCE }, { bigEndian: !littleEndian }));
    btf ??= openBtf(sections.get(".BTF")!);
  };
  for (const [name, value] of Object.entries(expected(littleEndian))) {
    requires(test, "tool:clang")(`${name}, ${order}-endian, as clang lays it out`, () => {
      compile();
      assert.is(btf.littleEndian, littleEndian);
      const { type } = btf.typeByName(name, "var");
      const bytes = sections.get(`.value.${name}`)!;
      for (const codegen of [true, false]) {
        const made = codec(btf, type, { codegen });
        assert.equal(made.decode(bytes), value);
        assert.is(toHex(made.encode(value)), toHex(bytes.subarray(0, Math.max(made.size, bytes.length))));
        // In the middle of other bytes, which stay as they are.
        const around = new Uint8Array(bytes.length + 5).fill(0xaa);
        made.encodeInto(value, around, 3);
        assert.is(toHex(around), `aaaaaa${toHex(bytes)}aaaa`);
        if (name !== "flexible") assert.equal(made.decode(around, 3), value);
      }
      for (const unit of ["whole", "split"] as const) {
        const old = oldBitfields(btf, unit);
        for (const codegen of [true, false]) {
          const made = codec(old, old.typeByName(name, "var").type, { codegen });
          assert.equal(made.decode(bytes), value, `old encoding, ${unit}`);
          assert.is(toHex(made.encode(value)), toHex(bytes));
        }
      }
    });
  }
}

test.run();
