import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type BtfTypeSpec, dedupBtf, encodeBtf, openBtf } from "../../src/btf/index.ts";
import { BtfError } from "../../src/errors.ts";
import { requires, rounds, skip } from "../support/harness.ts";
import { compileWithLibbpf } from "./support/libbpf.ts";
import { randomUnits } from "./support/random.ts";

const test = suite("btf/dedup");

const INT: BtfTypeSpec = { kind: "int", name: "int", size: 4, signed: true };
const list = (next: number): BtfTypeSpec => ({
  kind: "struct",
  name: "list",
  size: 8,
  members: [{ name: "next", type: next }],
});

test("merges structs that refer to themselves, and declarations with definitions", () => {
  const { types, ids } = dedupBtf([
    // First file: struct list { struct list *next; }; struct list *; int
    INT,
    list(3),
    { kind: "ptr", type: 2 },
    // Second file: the same, declared only.
    { kind: "fwd", name: "list", target: "struct" },
    { kind: "ptr", type: 4 },
    INT,
    // Third file: the same once more.
    { kind: "ptr", type: 8 },
    list(7),
  ]);
  assert.equal(types, [INT, { ...list(3), members: [{ name: "next", type: 3 }] }, { kind: "ptr", type: 2 }]);
  assert.equal(
    [...ids],
    [
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
      [4, 2],
      [5, 3],
      [6, 1],
      [7, 3],
      [8, 2],
    ],
  );
});

test("keeps apart what only looks alike", () => {
  const different: BtfTypeSpec[][] = [
    [INT, { ...INT, signed: false }],
    [INT, { ...INT, size: 8 }],
    [
      { kind: "enum", name: "e", values: [{ name: "A", value: 1 }] },
      { kind: "enum", name: "e", values: [{ name: "A", value: 2 }] },
    ],
    [
      { kind: "fwd", name: "s", target: "struct" },
      { kind: "fwd", name: "s", target: "union" },
    ],
    [
      { kind: "struct", name: "s", size: 4, members: [{ name: "a", type: 0 }] },
      { kind: "struct", name: "s", size: 4, members: [{ name: "b", type: 0 }] },
    ],
    [
      { kind: "decl_tag", name: "t", type: 0, componentIndex: 1 },
      { kind: "decl_tag", name: "t", type: 0 },
    ],
    [
      { kind: "var", name: "v", type: 0 },
      { kind: "var", name: "v", type: 0 },
    ],
  ];
  for (const types of different) assert.is(dedupBtf(types).types.length, types.length, JSON.stringify(types));
});

test("resolves a declaration that never meets its definition, unless there are several", () => {
  const forward: BtfTypeSpec = { kind: "fwd", name: "s", target: "struct" };
  const struct = (size: number): BtfTypeSpec => ({ kind: "struct", name: "s", size, members: [] });
  assert.equal(dedupBtf([forward, { kind: "ptr", type: 1 }, struct(4)]).types, [{ kind: "ptr", type: 2 }, struct(4)]);
  assert.is(dedupBtf([forward, struct(4), struct(8)]).types.length, 3);
  assert.is(dedupBtf([forward, { ...struct(4), kind: "union" } as BtfTypeSpec]).types.length, 2);
});

const LONG: BtfTypeSpec = { kind: "int", name: "long", size: 8, signed: true };
/** struct a { struct s *s; } as types 3, 2 and 1, or where they come to lie; the first is what s is. */
const holder = (first: BtfTypeSpec, at: number): BtfTypeSpec[] => [
  first,
  { kind: "ptr", type: at },
  { kind: "struct", name: "a", size: 8, members: [{ name: "s", type: at + 1 }] },
];
const forwardS: BtfTypeSpec = { kind: "fwd", name: "s", target: "struct" };
const structS = (member: number): BtfTypeSpec => ({
  kind: "struct",
  name: "s",
  size: 8,
  members: [{ name: "m", type: member }],
});

// Cases with what they come to, by kinds and names; also compared with libbpf.
const CASES: [string, BtfTypeSpec[], string][] = [
  [
    "a declaration that meets one of two definitions stands for that one",
    [LONG, ...holder(forwardS, 2), ...holder(structS(1), 5), structS(0)],
    "int long, ptr, struct a, struct s, struct s",
  ],
  [
    "a definition that meets a declaration later on",
    [LONG, structS(0), ...holder(structS(1), 3), ...holder(forwardS, 6)],
    "int long, struct s, struct s, ptr, struct a",
  ],
  [
    "an enum that is declared first",
    [
      { kind: "enum", name: "e", values: [] },
      { kind: "ptr", type: 1 },
      { kind: "enum", name: "e", values: [{ name: "A", value: 1 }] },
      { kind: "ptr", type: 3 },
    ],
    "ptr, enum e",
  ],
  [
    "an enum that is declared last, and is wide",
    [
      { kind: "enum64", name: "e", values: [{ name: "A", value: 1n }] },
      { kind: "ptr", type: 1 },
      { kind: "enum", name: "e", values: [] },
      { kind: "ptr", type: 3 },
    ],
    "enum64 e, ptr",
  ],
  [
    "structs that hold a declared and a defined enum",
    [
      { kind: "enum", name: "e", values: [] },
      { kind: "struct", name: "h", size: 4, members: [{ name: "e", type: 1 }] },
      { kind: "enum", name: "e", values: [{ name: "A", value: 1 }] },
      { kind: "struct", name: "h", size: 4, members: [{ name: "e", type: 3 }] },
    ],
    "struct h, enum e",
  ],
];

const summary = (types: readonly BtfTypeSpec[]): string =>
  types.map((type) => ("name" in type && type.name ? `${type.kind} ${type.name}` : type.kind)).join(", ");

for (const [name, types, expected] of CASES) {
  test(name, () => {
    assert.is(summary(dedupBtf(types).types), expected);
  });
}

// A base that only knows the declaration does not change, so the struct that leads to the definition stays.
const DECLARING_BASE = [LONG, ...holder(forwardS, 2)];
const DEFINING_SPLIT = holder(structS(1), 5);

test("does not merge what would change the base", () => {
  const base = openBtf(encodeBtf(DECLARING_BASE));
  assert.is(summary(dedupBtf(DEFINING_SPLIT, { base }).types), "struct s, ptr, struct a");
  assert.is(summary(dedupBtf(holder(forwardS, 5), { base }).types), "");
});

test("merges typedefs that lead back to themselves, and refuses other circles", () => {
  const types: BtfTypeSpec[] = [1, 3].flatMap((id) => [
    { kind: "typedef", name: "f", type: id + 1 },
    { kind: "func_proto", params: [{ type: id }] },
  ]);
  assert.is(dedupBtf(types).types.length, 2);
  assert.throws(
    () =>
      dedupBtf([
        { kind: "ptr", type: 2 },
        { kind: "const", type: 1 },
      ]),
    (error: unknown) => error instanceof BtfError && error.code === "ERR_BTF_CYCLE",
  );
});

test("merges into a base, which stays as it is", () => {
  const base = openBtf(
    encodeBtf([
      INT,
      { kind: "ptr", type: 1 },
      { kind: "typedef", name: "t", type: 2 },
      { kind: "fwd", name: "s", target: "struct" },
      { kind: "ptr", type: 4 },
    ]),
  );
  const { types, ids } = dedupBtf(
    [
      INT,
      { kind: "ptr", type: 6 },
      { kind: "typedef", name: "t", type: 7 },
      { kind: "struct", name: "s", size: 4, members: [{ name: "m", type: 6 }] },
      { kind: "ptr", type: 9 },
      { kind: "const", type: 8 },
    ],
    { base },
  );
  assert.equal(types, [
    { kind: "struct", name: "s", size: 4, members: [{ name: "m", type: 1 }] },
    // The base has a pointer to a declaration, which is not the same.
    { kind: "ptr", type: 6 },
    { kind: "const", type: 3 },
  ]);
  assert.equal([...ids.values()], [0, 1, 2, 3, 6, 7, 8]);
});

test("merging twice changes nothing more", () => {
  for (let seed = 0; seed < rounds(40, 500); seed++) {
    const once = dedupBtf(randomUnits(seed, 3)).types;
    assert.equal(dedupBtf(once).types, once);
  }
});

// Does with libbpf what dedupBtf does: IN OUT [BASE].
const PEER = `
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
int main(int argc, char **argv)
{
  if (argc < 2)
    return libbpf_minor_version();
  struct btf *base = argc > 3 ? btf__parse(argv[3], NULL) : NULL;
  struct btf *btf = base ? btf__parse_split(argv[1], base) : btf__parse(argv[1], NULL);
  if (!btf || btf__dedup(btf, NULL)) return 1;
  unsigned int size;
  const void *data = btf__raw_data(btf, &size);
  FILE *out = fopen(argv[2], "w");
  return !out || fwrite(data, 1, size, out) != size || fclose(out);
}
`;

const peer = compileWithLibbpf(PEER);
test.after(() => peer?.remove());
// Without arguments its exit status is the minor version of libbpf 1.
const minor = peer?.run() ?? 0;
const name = "gives what libbpf gives";
if (peer === undefined) skip(test, name, "needs a C compiler with libbpf");
else {
  test(name, () => {
    const compare = (types: readonly BtfTypeSpec[], base: Btf | undefined, what: string): void => {
      const files = [join(peer.folder, "in"), join(peer.folder, "out")];
      writeFileSync(files[0]!, encodeBtf(types, { base }));
      if (base !== undefined) {
        files.push(join(peer.folder, "base"));
        writeFileSync(files[2]!, encodeBtf(base.types()));
      }
      assert.is(peer.run(...files), 0);
      const theirs = openBtf(readFileSync(files[1]!), { base });
      const ours = openBtf(encodeBtf(dedupBtf(types, { base }).types, { base }), { base });
      assert.is(text(ours), text(theirs), what);
    };
    const text = (btf: Btf): string =>
      [...btf.types(btf.firstId)]
        .map((type) => JSON.stringify(type, (_, value) => (typeof value === "bigint" ? `${value}` : value)))
        .join("\n");
    for (const [what, types] of CASES) compare(types, undefined, what);
    compare(DEFINING_SPLIT, openBtf(encodeBtf(DECLARING_BASE)), "base");
    const count = rounds(40, 1000);
    for (let seed = 0; seed < count; seed++) {
      // libbpf compares copies of a pointer within a struct since 1.6; and since 1.7 it does not find typedefs in a base.
      const split = minor >= 6 && seed % 2 === 1;
      const units = (files: number, firstId: number): BtfTypeSpec[] =>
        randomUnits(seed, files, firstId).map((type) =>
          split && type.kind === "typedef" ? { kind: "const", type: type.type } : type,
        );
      const base = split ? openBtf(encodeBtf(dedupBtf(units(3, 1)).types)) : undefined;
      const types = units(4, base?.endId ?? 1);
      compare(types, base, `seed ${seed}`);
    }
    console.log(`\nNOTE ${count} merged BTF are the same as from libbpf 1.${minor}`);
  });
}

requires(test, "kernel-btf")("the kernel's BTF has nothing left to merge", () => {
  const btf = openBtf(readFileSync("/sys/kernel/btf/vmlinux"));
  assert.is(dedupBtf(btf.types()).types.length, btf.endId - 1);
});

test.run();
