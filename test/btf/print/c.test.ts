import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type BtfTypeSpec,
  createBtfBuilder,
  encodeBtf,
  openBtf,
  type ToCOptions,
  toC,
} from "../../../src/btf/index.ts";

const test = suite("btf/print/c");

const INT = 1;
const U8 = 2;
const U32 = 3;
const U64 = 4;
const base: readonly BtfTypeSpec[] = [
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "int", name: "unsigned char", size: 1 },
  { kind: "int", name: "unsigned int", size: 4 },
  { kind: "int", name: "long long unsigned int", size: 8 },
];

/** Text of some types that follow the ones above: the first has number 5. */
function print(types: readonly BtfTypeSpec[], options: ToCOptions = {}, roots?: readonly number[]): string {
  return toC(openBtf(encodeBtf([...base, ...types])), roots, { guard: false, ...options });
}

const member = (name: string, type: number, bitOffset: number, bitfieldSize = 0) => ({
  name,
  type,
  bitOffset,
  bitfieldSize,
});
const array = (type: number, length: number): BtfTypeSpec => ({ kind: "array", type, indexType: U32, length });
const struct = (name: string, size: number, ...members: ReturnType<typeof member>[]): BtfTypeSpec => ({
  kind: "struct",
  name,
  size,
  members,
});

const CASES: Record<string, readonly [readonly BtfTypeSpec[], string]> = {
  declarators: [
    [
      { kind: "ptr", type: INT },
      array(5, 4),
      { kind: "func_proto", returnType: 5, params: [{ name: "a", type: U32 }, { type: 5 }], variadic: true },
      { kind: "ptr", type: 7 },
      array(8, 2),
      { kind: "func_proto", returnType: 8, params: [] },
      { kind: "ptr", type: 10 },
      { kind: "ptr", type: 6 },
      array(array.length, 0),
      { kind: "const", type: U8 },
      { kind: "ptr", type: 14 },
      { kind: "const", type: 15 },
      { kind: "volatile", type: 16 },
      { kind: "ptr", type: 0 },
      { kind: "restrict", type: 18 },
      struct(
        "d",
        160,
        member("array_of_pointers", 6, 0),
        member("array_of_functions", 9, 256),
        member("function_that_returns_one", 11, 384),
        member("pointer_to_array", 12, 448),
        member("qualified", 17, 512),
        member("anything", 19, 576),
        member("function", 8, 640),
        member("none", 8, 704),
      ),
    ],
    `struct d {
	int *array_of_pointers[4];
	int *(*array_of_functions[2])(unsigned int a, int *, ...);
	int *(*(*function_that_returns_one)(void))(unsigned int a, int *, ...);
	int *(*pointer_to_array)[4];
	const unsigned char *const volatile qualified;
	void *restrict anything;
	int *(*function)(unsigned int a, int *, ...);
	int *(*none)(unsigned int a, int *, ...);
	long: 64;
	long: 64;
	long: 64;
	long: 64;
	long: 64;
	long: 64;
	long: 64;
	long: 64;
};
`,
  ],
  "what is pointed to is declared, what is held comes first": [
    [
      struct("a", 16, member("b", 7, 0), member("c", 8, 64)),
      struct("b", 8, member("a", 9, 0)),
      { kind: "typedef", name: "b_t", type: 6 },
      { kind: "ptr", type: 10 },
      { kind: "ptr", type: 5 },
      struct("c", 4, member("x", INT, 0)),
    ],
    `struct a;

struct b {
	struct a *a;
};

typedef struct b b_t;

struct c;

struct a {
	b_t b;
	struct c *c;
};

struct c {
	int x;
};
`,
  ],
  "a struct that points to itself, through a typedef as well": [
    [
      struct("node", 16, member("next", 6, 0), member("other", 8, 64)),
      { kind: "ptr", type: 5 },
      { kind: "typedef", name: "node_t", type: 5 },
      { kind: "ptr", type: 7 },
    ],
    `struct node;

typedef struct node node_t;

struct node {
	struct node *next;
	node_t *other;
};
`,
  ],
  "anonymous members": [
    [
      { kind: "struct", size: 8, members: [member("a", INT, 0), member("b", INT, 32)] },
      { kind: "union", size: 8, members: [member("", 5, 0), member("all", U64, 0)] },
      { kind: "const", type: 6 },
      struct("s", 24, member("", 7, 0), member("named", 6, 64), member("e", 9, 128)),
      {
        kind: "enum",
        values: [
          { name: "A", value: 0 },
          { name: "B", value: 1 },
        ],
      },
    ],
    `struct s {
	const union {
		struct {
			int a;
			int b;
		};
		long long unsigned int all;
	};
	union {
		struct {
			int a;
			int b;
		};
		long long unsigned int all;
	} named;
	enum {
		A = 0,
		B = 1,
	} e;
};
`,
  ],
  "a named struct without a member's name is written out": [
    [struct("inner", 4, member("x", INT, 0)), struct("outer", 8, member("", 5, 0), member("y", INT, 32))],
    `struct inner {
	int x;
};

struct outer {
	struct {
		int x;
	};
	int y;
};
`,
  ],
  "bit fields": [
    [
      struct(
        "b",
        16,
        member("a", U32, 0, 3),
        member("b", U32, 3, 5),
        member("c", U32, 16, 8),
        member("d", U64, 64, 33),
      ),
      { kind: "int", name: "unsigned int", size: 4, bits: 3 },
      { kind: "int", name: "unsigned int", size: 4, bits: 5, bitOffset: 3 },
      struct("old", 4, member("a", 6, 0), member("b", 7, 0)),
    ],
    `struct b {
	unsigned int a: 3;
	unsigned int b: 5;
	short: 8;
	unsigned int c: 8;
	long: 40;
	long long unsigned int d: 33;
};

struct old {
	unsigned int a: 3;
	unsigned int b: 5;
};
`,
  ],
  "packed, aligned and holes": [
    [
      struct("packed", 9, member("a", U8, 0), member("b", U64, 8)),
      struct("packed_size", 12, member("a", U64, 0), member("b", U32, 64)),
      struct("hole", 16, member("a", U8, 0), member("b", U8, 64)),
      struct("late", 8, member("a", INT, 32)),
      struct("empty", 0),
      struct("opaque", 12),
      { kind: "union", name: "aligned", size: 8, members: [member("a", U8, 0)] },
      { kind: "union", name: "packed_union", size: 5, members: [member("a", U32, 0), member("b", 13, 0)] },
      array(U8, 5),
    ],
    `union aligned {
	unsigned char a;
} __attribute__((aligned(8)));

struct empty {};

struct hole {
	unsigned char a;
	long: 0;
	unsigned char b;
	long: 0;
};

struct late {
	int: 32;
	int a;
};

struct opaque {
	long: 64;
	int: 32;
};

struct packed {
	unsigned char a;
	long long unsigned int b;
} __attribute__((packed));

struct packed_size {
	long long unsigned int a;
	unsigned int b;
} __attribute__((packed));

union packed_union {
	unsigned int a;
	unsigned char b[5];
} __attribute__((packed));
`,
  ],
  enums: [
    [
      { kind: "enum", name: "tiny", size: 1, values: [{ name: "T", value: 1 }] },
      { kind: "enum", name: "short_one", size: 2, values: [{ name: "S", value: 1 }] },
      { kind: "enum", name: "signed_one", signed: true, values: [{ name: "N", value: -1 }] },
      { kind: "enum", name: "wide", size: 8, values: [{ name: "W", value: 1 }] },
      { kind: "enum64", name: "wider", values: [{ name: "X", value: 0xffffffffffffffffn }] },
      { kind: "enum64", name: "wide_signed", signed: true, values: [{ name: "Y", value: -1n }] },
      { kind: "enum", values: [{ name: "ALONE", value: 7 }] },
      {
        kind: "enum",
        values: [
          { name: "false", value: 0 },
          { name: "true", value: 1 },
        ],
      },
      { kind: "enum", name: "only_declared", values: [] },
      { kind: "enum", name: "tiny", values: [] },
      struct("s", 5, member("known", 14, 0), member("x", 13, 8)),
    ],
    `enum {
	ALONE = 7,
};

#if __STDC_VERSION__ < 202311L
enum {
	false = 0,
	true = 1,
};
#endif

enum only_declared {
	only_declared_unknown = 0,
};

enum short_one {
	S = 1,
} __attribute__((mode(HI)));

enum signed_one {
	N = -1,
};

enum tiny {
	T = 1,
} __attribute__((mode(byte)));

enum wide {
	W = 1,
} __attribute__((mode(word)));

enum wide_signed {
	Y = -1LL,
} __attribute__((mode(word)));

enum wider {
	X = 18446744073709551615ULL,
};

struct s {
	enum tiny known;
	enum only_declared x;
} __attribute__((packed));
`,
  ],
  "names that are taken": [
    [
      struct("x", 4, member("a", INT, 0)),
      { kind: "union", name: "x", size: 4, members: [member("b", INT, 0)] },
      struct("x", 4, member("c", INT, 0)),
      { kind: "fwd", name: "x", target: "union" },
      { kind: "fwd", name: "x", target: "struct" },
      { kind: "typedef", name: "x", type: INT },
      { kind: "typedef", name: "x", type: U8 },
      {
        kind: "enum",
        values: [
          { name: "x", value: 0 },
          { name: "y", value: 1 },
        ],
      },
      { kind: "enum", name: "x", values: [{ name: "y", value: 1 }] },
    ],
    `enum {
	x = 0,
	y = 1,
};

enum x {
	y___2 = 1,
};

typedef int x___2;

typedef unsigned char x___3;

struct x___2 {
	int a;
};

union x___3 {
	int b;
};

struct x___4 {
	int c;
};

union x___3;

struct x___2;
`,
  ],
  "names that are none in C": [
    [
      struct("Option<u32>", 8, member("0", INT, 0), member("int", INT, 32)),
      struct("{impl#0}", 4, member("größe", INT, 0)),
      { kind: "typedef", name: "register", type: INT },
      { kind: "int", name: "u128", size: 16 },
      { kind: "int", name: "isize", size: 8, signed: true },
      { kind: "float", name: "f32", size: 4 },
      { kind: "int", name: "char32_t", size: 4, char: true },
      struct(
        "s",
        48,
        member("a", 8, 0),
        member("b", 9, 128),
        member("c", 10, 192),
        member("d", 11, 224),
        member("e", 6, 256),
      ),
    ],
    `typedef int register_;

struct Option_u32_ {
	int _0;
	int int_;
};

typedef unsigned __int128 u128;

typedef signed long long isize;

typedef float f32;

typedef unsigned int char32_t;

struct _impl_0_ {
	int gr__e;
};

struct s {
	u128 a;
	isize b;
	f32 c;
	char32_t d;
	struct _impl_0_ e;
	long: 0;
};
`.replace("	long: 0;\n", ""),
  ],
  tags: [
    [
      { kind: "type_tag", name: "user", type: INT },
      { kind: "ptr", type: 5 },
      { kind: "type_tag", name: "address_space(1)", type: 0, attribute: true },
      { kind: "ptr", type: 7 },
      struct("s", 16, member("p", 6, 0), member("q", 8, 64)),
      { kind: "decl_tag", name: 'say "it"', type: 9 },
      { kind: "decl_tag", name: "member", type: 9, componentIndex: 1 },
      { kind: "typedef", name: "t", type: INT },
      { kind: "decl_tag", name: "noderef", type: 12, attribute: true },
      { kind: "type_tag", name: "x)) int y; /* */ ((", type: INT, attribute: true },
      { kind: "ptr", type: 14 },
      { kind: "typedef", name: "u", type: 15 },
    ],
    `typedef int t __attribute__((noderef));

struct s {
	int __attribute__((btf_type_tag("user"))) *p;
	void __attribute__((address_space(1))) *q __attribute__((btf_decl_tag("member")));
} __attribute__((btf_decl_tag("say \\"it\\"")));

typedef int /* x)) int y; /* * / (( */ *u;
`,
  ],
  "types that compilers have": [
    [
      struct("__va_list_tag", 24, member("gp_offset", U32, 0), member("rest", U8, 32)),
      array(5, 1),
      { kind: "typedef", name: "__builtin_va_list", type: 6 },
      { kind: "typedef", name: "va_list", type: 7 },
      { kind: "typedef", name: "__gnuc_va_list", type: 0 },
    ],
    `struct __va_list_tag {
	unsigned int gp_offset;
	unsigned char rest;
	long: 64;
	long: 64;
};

typedef __builtin_va_list __gnuc_va_list;

typedef struct __va_list_tag va_list[1];
`,
  ],
};

for (const [name, [types, text]] of Object.entries(CASES)) {
  test(name, () => assert.is(print(types), text));
}

const point: readonly BtfTypeSpec[] = [
  struct("point", 8, member("x", INT, 0), member("y", INT, 32)),
  { kind: "ptr", type: 5 },
  struct("line", 16, member("from", 6, 0), member("to", 6, 64)),
  { kind: "func_proto", returnType: 7, params: [{ name: "p", type: 6 }] },
  { kind: "func", name: "draw", type: 8 },
  { kind: "var", name: "origin", type: 5 },
];

test("roots bring what they need and nothing else", () => {
  assert.is(print(point, {}, [7]), "struct point;\n\nstruct line {\n\tstruct point *from;\n\tstruct point *to;\n};\n");
  assert.is(print(point, {}, [6]), "struct point;\n");
  assert.is(print(point, {}, [9]), "struct line;\n\nstruct point;\n\nextern struct line draw(struct point *p);\n");
  assert.is(print(point, {}, [10]), "struct point;\n\nextern struct point origin;\n");
  assert.is(print(point, {}, []), "\n");
  assert.is(print(point, {}, [INT]), "\n");
});

test("a header has a guard, and has clang record accesses", () => {
  const text = print(point, { guard: "POINT_H" }, [5]);
  assert.is(
    text,
    `#ifndef POINT_H
#define POINT_H

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

struct point {
	int x;
	int y;
};

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* POINT_H */
`,
  );
  assert.is(
    print(point, { guard: "POINT_H", preserveAccessIndex: false }, [5]),
    "#ifndef POINT_H\n#define POINT_H\n\nstruct point {\n\tint x;\n\tint y;\n};\n\n#endif /* POINT_H */\n",
  );
});

test("kernel functions are declared", () => {
  const types: BtfTypeSpec[] = [
    ...point,
    { kind: "decl_tag", name: "bpf_kfunc", type: 9 },
    { kind: "decl_tag", name: "bpf_fastcall", type: 9 },
  ];
  assert.match(print(types), /\nextern __bpf_fastcall struct line draw\(struct point \*p\) __weak __ksym;\n$/);
  assert.match(print(types, { guard: "X" }), /#ifndef BPF_NO_KFUNC_PROTOTYPES\n#ifndef __ksym\n/);
  assert.not.match(print(types, { kfuncs: false }), /draw/);
  assert.not.match(print(types, {}, [5]), /draw/);
});

test("order by number, and tags as comments or not at all", () => {
  const types: BtfTypeSpec[] = [
    struct("b", 4, member("x", INT, 0)),
    struct("a", 4, member("x", INT, 0)),
    { kind: "decl_tag", name: "tag", type: 6 },
  ];
  assert.match(print(types), /^struct a[\s\S]*struct b/);
  assert.match(print(types, { sort: "id" }), /^struct b[\s\S]*struct a/);
  assert.match(print(types, { tags: "comments" }), /\} \/\* btf_decl_tag\("tag"\) \*\/;/);
  assert.match(print(types, { tags: "none" }), /^struct a \{\n\tint x;\n\};/);
});

test("split BTF prints its own types and what they need of the base", () => {
  const kernel = openBtf(encodeBtf([...base, ...point]));
  const builder = createBtfBuilder({ base: kernel });
  builder.add(struct("shape", 24, member("line", 7, 0), member("at", 6, 128)));
  const text = toC(builder.build(), undefined, { guard: false });
  assert.is(
    text,
    `struct point;

struct line {
	struct point *from;
	struct point *to;
};

struct shape {
	struct line line;
	struct point *at;
};
`,
  );
});

test("types that hold themselves are refused", () => {
  const refused: readonly (readonly [readonly BtfTypeSpec[], string])[] = [
    [[struct("s", 8, member("s", 5, 0))], "ERR_BTF_CYCLE"],
    [[struct("a", 8, member("b", 6, 0)), struct("b", 8, member("a", 5, 0))], "ERR_BTF_CYCLE"],
    [[{ kind: "typedef", name: "t", type: 5 }], "ERR_BTF_CYCLE"],
    [
      [
        { kind: "ptr", type: 5 },
        { kind: "typedef", name: "t", type: 5 },
      ],
      "ERR_LIMIT",
    ],
    [
      [
        { kind: "struct", size: 8, members: [member("x", 5, 0)] },
        { kind: "typedef", name: "t", type: 5 },
      ],
      "ERR_LIMIT",
    ],
  ];
  for (const [types, code] of refused) {
    assert.throws(
      () => print(types),
      (error: { code?: string; name?: string }) => error.name === "BtfError" && error.code === code,
    );
  }
  // Which other languages may do behind a pointer to an array.
  const rust: BtfTypeSpec[] = [struct("a", 8, member("p", 7, 0)), array(5, 2), { kind: "ptr", type: 6 }];
  assert.is(print(rust), "struct a {\n\tstruct a (*p)[2];\n};\n");
});

test("long chains take no stack", () => {
  const chain: BtfTypeSpec[] = [];
  for (let i = 0; i < 20_000; i++) chain.push({ kind: "typedef", name: `t${i}`, type: i === 0 ? INT : 4 + i });
  const text = print(chain, { sort: "id" });
  assert.is(text.split("\n").length, 40_000);
  const nested: BtfTypeSpec[] = [];
  for (let i = 0; i < 20_000; i++) nested.push(struct(`s${i}`, 4, member("x", i === 0 ? INT : 4 + i, 0)));
  assert.ok(print([...nested].reverse().map((_, i) => nested[i]!)).includes("struct s19999 {\n\tstruct s19998 x;\n};"));
  const pointers: BtfTypeSpec[] = [];
  for (let i = 0; i < 20_000; i++) pointers.push({ kind: "ptr", type: i === 0 ? INT : 4 + i });
  assert.ok(
    print([...pointers, { kind: "typedef", name: "deep", type: 20_004 }]).includes(`${"*".repeat(20_000)}deep;`),
  );
});

test.run();
