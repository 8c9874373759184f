import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Btf,
  type BtfTypeSpec,
  codec,
  encodeBtf,
  openBtf,
  type ToTypeScriptOptions,
  toTypeScript,
} from "../../../src/btf/index.ts";
import { inDirectory, run } from "../../support/clang.ts";
import { repository, requires, rounds } from "../../support/harness.ts";
import { randomNumbers, randomTypes } from "../support/random.ts";

const test = suite("btf/print/typescript");

const STRICT = {
  target: "es2022",
  module: "nodenext",
  strict: true,
  noEmit: true,
  noUnusedLocals: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  types: [],
  lib: ["es2022"],
};

/** Compiles TypeScript under `strict`, each text as a module. */
function compile(texts: Readonly<Record<string, string>>): void {
  const files = { ...texts, "tsconfig.json": JSON.stringify({ compilerOptions: STRICT, include: ["*.ts"] }) };
  inDirectory({ ...files, "package.json": '{"type":"module"}' }, (directory) =>
    run(process.execPath, [join(repository, "node_modules/typescript/bin/tsc"), "--pretty", "false"], directory),
  );
}

/** A value as TypeScript source. */
function literal(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  if (value instanceof Uint8Array) return `Uint8Array.of(${value.join(", ")})`;
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([name, part]) => {
      const key = name === "__proto__" ? '["__proto__"]' : JSON.stringify(name);
      return `${key}: ${literal(part)}`;
    });
    return `{ ${members.join(", ")} }`;
  }
  if (typeof value === "number" && !Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : `${value}`;
  return JSON.stringify(value);
}

const member = (name: string, type: number, bitOffset: number, bitfieldSize = 0) => ({
  name,
  type,
  bitOffset,
  bitfieldSize,
});
const array = (type: number, length: number): BtfTypeSpec => ({ kind: "array", type, indexType: 1, length });

const TYPES: readonly BtfTypeSpec[] = [
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "int", name: "char", size: 1 },
  { kind: "int", name: "unsigned char", size: 1 },
  { kind: "int", name: "unsigned long", size: 8 },
  { kind: "typedef", name: "u32", type: 1 },
  array(2, 16),
  array(3, 6),
  {
    kind: "enum",
    name: "state",
    values: [
      { name: "IDLE", value: 0 },
      { name: "BUSY", value: 1 },
    ],
  },
  {
    kind: "enum64",
    name: "string",
    values: [
      { name: 'a "b"', value: 1n },
      { name: "c", value: 2n },
    ],
  },
  { kind: "struct", size: 8, members: [member("x", 1, 0), member("y", 1, 32)] },
  { kind: "typedef", name: "point_t", type: 10 },
  { kind: "const", type: 11 },
  array(12, 2),
  { kind: "struct", size: 4, members: [member("inner", 1, 0)] },
  { kind: "union", size: 4, members: [member("whole", 5, 0), member("half", 3, 0)] },
  { kind: "int", name: "_Bool", size: 1, bool: true },
  { kind: "ptr", type: 19 },
  array(8, 0),
  {
    kind: "struct",
    name: "event",
    size: 96,
    members: [
      member("pid", 5, 0),
      member("comm", 6, 32),
      member("mac", 7, 160),
      member("ok", 16, 208),
      member("state", 8, 224),
      member("kind", 9, 256),
      member("points", 13, 320),
      member("nested", 14, 448),
      member("", 15, 480),
      member("bits", 4, 512, 3),
      member("wide", 4, 515, 40),
      member("next", 17, 576),
      member("__proto__", 1, 640),
      member("default", 1, 672),
      member("*/ a-b", 1, 704),
      member("rest", 18, 768),
    ],
  },
  { kind: "struct", name: "event", size: 4, members: [member("other", 5, 0)] },
  { kind: "var", name: "count", type: 4 },
  { kind: "datasec", name: ".bss", size: 8, vars: [{ type: 21, offset: 0, size: 8 }] },
];

const btf = openBtf(encodeBtf(TYPES));

test("declarations of an event", () => {
  assert.is(
    toTypeScript(btf, [19, 20, 22, 8]),
    `/** \`struct event\`, 96 bytes. */
export interface event {
  /** \`u32 pid\`, at byte 0. */
  pid: number;
  /** \`char comm[16]\`, at byte 4. */
  comm: string;
  /** \`unsigned char mac[6]\`, at byte 20. */
  mac: Uint8Array;
  /** \`_Bool ok\`, at byte 26. */
  ok: boolean;
  /** \`enum state state\`, at byte 28. */
  state: state | number;
  /** \`enum string kind\`, at byte 32. */
  kind: string_ | bigint;
  /** \`const point_t points[2]\`, at byte 40. */
  points: point_t[];
  /** \`struct {...} nested\`, at byte 56. */
  nested: {
    /** \`int inner\`, at byte 0. */
    inner: number;
  };
  /** \`u32 whole\`, at byte 60. */
  whole: number;
  /** \`unsigned char half\`, at byte 60. */
  half: number;
  /** \`unsigned long bits: 3\`, at bit 512. */
  bits: number;
  /** \`unsigned long wide: 40\`, at bit 515. */
  wide: bigint;
  /** \`struct event *next\`, at byte 72. */
  next: bigint;
  /** \`int __proto__\`, at byte 80. */
  __proto__: number;
  /** \`int default\`, at byte 84. */
  default: number;
  /** \`int *\\/ a-b\`, at byte 88. */
  "*/ a-b": number;
  /** \`enum state rest[0]\`, at byte 96. */
  rest: (state | number)[];
}

/** \`enum state\`, 4 bytes. */
export type state =
  | "IDLE"
  | "BUSY";

/** \`enum string\`, 8 bytes. */
export type string_ =
  | "a \\"b\\""
  | "c";

/** \`point_t\`, 8 bytes. */
export interface point_t {
  /** \`int x\`, at byte 0. */
  x: number;
  /** \`int y\`, at byte 4. */
  y: number;
}

/** \`struct event\`, 4 bytes. */
export interface event___2 {
  /** \`u32 other\`, at byte 0. */
  other: number;
}

/** Section \`.bss\`, 8 bytes. */
export interface _bss {
  /** \`unsigned long count\`, at byte 0. */
  count: bigint;
}
`,
  );
});

test("options of the codec change the declarations", () => {
  const options = { bigint: "safe", chars: "bytes", flags: ["state"], export: false } as const;
  const text = toTypeScript(btf, [19, 5, 21], options);
  assert.match(text, /^interface event \{$/m);
  assert.match(text, / {2}comm: Uint8Array;/);
  assert.match(text, / {2}wide: number \| bigint;/);
  assert.match(text, / {2}next: bigint;/);
  assert.match(text, / {2}state: \(state \| number\)\[\];/);
  assert.match(text, / {2}rest: \(state \| number\)\[\]\[\];|rest: \(\(state \| number\)\[\]\)\[\];/);
  assert.match(text, /^\/\*\* `u32`, 4 bytes. \*\/\ntype u32 = number;$/m);
  assert.match(text, /^type count = number \| bigint;$/m);
});

test("types without values are refused", () => {
  const types: BtfTypeSpec[] = [...TYPES, { kind: "fwd", name: "gone", target: "struct" }];
  assert.throws(() => toTypeScript(openBtf(encodeBtf(types)), [types.length]), /No values are of kind fwd "gone"/);
});

test("declarations compile, and what the codec decodes fits them", () => {
  const files: Record<string, string> = {};
  let values = 0;
  const add = (
    btf: Btf,
    roots: readonly number[],
    options: ToTypeScriptOptions,
    below: (n: number) => number,
  ): void => {
    const checks: string[] = [];
    const declared = toTypeScript(btf, roots, options);
    for (const root of roots) {
      const { name } = btf.typeById(root);
      // An enum's own type has its names only: where it is used, the numbers of all other values join them.
      const { kind } = btf.typeById(root);
      if (kind === "enum" || kind === "enum64") continue;
      // Only names that are sure to be those of the declarations.
      if (!/^[a-z]\w{3,}$/.test(name) || btf.idsByName(name).length > 1 || name === "string") continue;
      if (!new RegExp(`^export (interface|type) ${name}\\b`, "m").test(declared)) continue;
      const made = codec(btf, root, options);
      const bytes = Uint8Array.from({ length: made.size }, () => (below(3) === 0 ? below(256) : 0));
      checks.push(`export const value${checks.length}: ${name} = ${literal(made.decode(bytes))};`);
      values++;
    }
    files[`m${Object.keys(files).length}.ts`] = `${declared}\n${checks.join("\n")}\nexport {};\n`;
  };
  const variants: ToTypeScriptOptions[] = [{}, { bigint: "safe", flags: true }, { chars: "bytes" }];
  for (const options of variants) add(btf, [19, 20, 22, 8, 21], options, randomNumbers(3));
  for (let seed = 0; seed < rounds(20, 200); seed++) {
    const random = openBtf(encodeBtf(randomTypes(seed, 50)));
    const roots = [...random.types()].filter((type) => {
      const { kind } = type.kind === "var" ? random.resolve(type.type) : random.resolve(type.id);
      return !["func", "func_proto", "fwd", "decl_tag", "datasec", "void", "var"].includes(kind);
    });
    add(
      random,
      roots.map(({ id }) => id),
      variants[seed % 3]!,
      randomNumbers(seed),
    );
  }
  compile(files);
  console.log(`NOTE ${Object.keys(files).length} modules compile under strict, with ${values} decoded values in them`);
});

requires(test, "kernel-btf")("declarations of the running kernel's structs compile", () => {
  const kernel = openBtf(new Uint8Array(readFileSync("/sys/kernel/btf/vmlinux")));
  const names = ["task_struct", "sk_buff", "sock", "file", "inode", "net_device", "bpf_prog", "mm_struct", "bpf_attr"];
  const roots = names.flatMap((name) => kernel.idsByName(name).slice(0, 1));
  const text = toTypeScript(kernel, roots);
  compile({ "kernel.ts": text });
  const count = text.match(/^export /gm)!.length;
  assert.ok(count > 100);
  console.log(`NOTE ${count} declarations for ${roots.length} structs of the running kernel compile`);
});

test.run();
