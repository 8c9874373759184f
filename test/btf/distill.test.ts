import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type Btf,
  type BtfTypeSpec,
  distillBtf,
  encodeBtf,
  mapReferences,
  openBtf,
  relocateBtf,
  validateBtf,
} from "../../src/btf/index.ts";
import { BtfError } from "../../src/errors.ts";
import { rounds, skip } from "../support/harness.ts";
import { compileWithLibbpf } from "./support/libbpf.ts";
import { randomNumbers, randomTypes } from "./support/random.ts";

const test = suite("btf/distill");

const open = (types: BtfTypeSpec[], base?: Btf): Btf => openBtf(encodeBtf(types, { base }), { base });

const KERNEL: BtfTypeSpec[] = [
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "struct", name: "held", size: 4, members: [{ name: "a", type: 1 }] },
  { kind: "struct", name: "pointed", size: 8, members: [{ name: "b", type: 1 }] },
  { kind: "ptr", type: 3 },
  { kind: "typedef", name: "held_t", type: 2 },
  { kind: "enum64", name: "e", values: [{ name: "A", value: 1n }] },
  { kind: "float", name: "unused", size: 4 },
  { kind: "fwd", name: "declared", target: "union" },
];
const MODULE: BtfTypeSpec[] = [
  {
    kind: "struct",
    name: "own",
    size: 24,
    members: [{ type: 5 }, { type: 6, bitOffset: 32 }, { type: 4, bitOffset: 96 }, { type: 1, bitOffset: 160 }],
  },
  { kind: "ptr", type: 8 },
];

test("leaves of the base what the split BTF needs", () => {
  const { base, split } = distillBtf(open(MODULE, open(KERNEL)));
  const { id: _, ...int } = base.typeById(1);
  assert.equal(int, {
    kind: "int",
    name: "int",
    size: 4,
    bits: 32,
    bitOffset: 0,
    signed: true,
    char: false,
    bool: false,
  });
  assert.equal(
    [...base.types()].slice(1).map(({ id: _, ...type }) => type),
    [
      { kind: "struct", name: "held", size: 4, members: [] },
      { kind: "struct", name: "pointed", size: 8, members: [] },
      { kind: "enum", name: "e", size: 8, signed: false, values: [] },
      { kind: "fwd", name: "declared", target: "union" },
    ],
  );
  assert.equal(
    [...split.types(split.firstId)].map((type) => type.kind),
    ["struct", "ptr", "ptr", "typedef"],
  );
  validateBtf(split);
});

test("finds in another base what was distilled, and says what it lacks", () => {
  const kernel = open(KERNEL);
  const { split } = distillBtf(open(MODULE, kernel));
  // The same in another order, and a struct that is only pointed to has grown.
  const other = open([
    { kind: "float", name: "new", size: 8 },
    { kind: "union", name: "declared", size: 4, members: [] },
    { kind: "fwd", name: "declared", target: "union" },
    { kind: "enum", name: "e", size: 8, values: [] },
    { kind: "struct", name: "pointed", size: 80, members: [] },
    { kind: "struct", name: "held", size: 4, members: [] },
    { kind: "int", name: "int", size: 4, signed: true },
  ]);
  const moved = relocateBtf(split, other);
  assert.is(moved.base, other);
  const own = moved.typeByName("own", "struct");
  assert.equal(
    own.members.map((member) => moved.resolve(member.type).name),
    ["held", "e", "", "int"],
  );
  assert.is(moved.sizeOf(own.members[0]!.type), 4);
  assert.is(moved.sizeOf(moved.typeByName("held_t").id), 4);
  const refuse = (types: BtfTypeSpec[], message: RegExp): void => {
    assert.throws(
      () => relocateBtf(split, open(types)),
      (error: unknown) => error instanceof BtfError && message.test(error.message),
      String(message),
    );
  };
  const changed = (name: string, change: object): BtfTypeSpec[] =>
    KERNEL.map((type) => ("name" in type && type.name === name ? ({ ...type, ...change } as BtfTypeSpec) : type));
  refuse(changed("held", { size: 8 }), /The base has no struct "held" of 4 bytes \(\.BTF type\[\d\]\)/);
  refuse(changed("int", { signed: false }), /The base has no int "int"/);
  refuse(changed("e", { name: "f" }), /The base has no enum "e"/);
  refuse([...KERNEL, KERNEL[1]!], /The base has several struct "held": 2 and 9/);
  assert.throws(() => relocateBtf(kernel, other), TypeError);
  assert.throws(() => distillBtf(kernel), TypeError);
  refuse([], /The base has no/);
});

test("refuses a base that is not distilled", () => {
  const split = open([{ kind: "ptr", type: 1 }], open([{ kind: "ptr", type: 0 }]));
  assert.throws(
    () => relocateBtf(split, open(KERNEL)),
    (error: unknown) => error instanceof BtfError && error.code === "ERR_BTF_INVALID",
  );
});

// Does with libbpf what distillBtf and relocateBtf do: BASE SPLIT -> OUTBASE OUTSPLIT, NEWBASE -> MOVED.
const PEER = `
#include <bpf/btf.h>
#include <stdio.h>
static int put(const char *path, struct btf *btf)
{
  unsigned int size;
  const void *data = btf__raw_data(btf, &size);
  FILE *out = fopen(path, "w");
  return !out || fwrite(data, 1, size, out) != size || fclose(out);
}
int main(int argc, char **argv)
{
  struct btf *base, *split;
  struct btf *whole = btf__parse_split(argv[2], btf__parse(argv[1], NULL));
  if (!whole || btf__distill_base(whole, &base, &split)) return 1;
  if (put(argv[3], base) || put(argv[4], split)) return 2;
  base = btf__parse(argv[3], NULL);
  split = btf__parse_split(argv[4], base);
  if (btf__relocate(split, btf__parse(argv[5], NULL))) return 3;
  return put(argv[6], split);
}
`;

const peer = compileWithLibbpf(PEER);
test.after(() => peer?.remove());
const name = "gives what libbpf gives";
if (peer === undefined) skip(test, name, "needs a C compiler with libbpf 1.5 or newer");
else {
  test(name, () => {
    const text = (btf: Btf): string =>
      [...btf.types(btf.firstId)]
        .map((type) => JSON.stringify(type, (_, value) => (typeof value === "bigint" ? `${value}` : value)))
        .join("\n");
    const values = new Set(["var", "func", "datasec", "decl_tag", "fwd", "func_proto"]);
    const count = rounds(30, 500);
    let refused = 0;
    for (let seed = 0; seed < count; seed++) {
      const below = randomNumbers(seed);
      const types = randomTypes(seed, 60, 1, true);
      const base = open(types);
      const candidates = types.flatMap((type, i) => (values.has(type.kind) ? [] : [i + 1]));
      const refer = (): number => candidates[below(candidates.length)]!;
      const own = randomTypes(seed + 1000, 25, base.endId, true).map(
        (type): BtfTypeSpec => (type.kind === "ptr" && below(2) === 0 ? { ...type, type: refer() } : type),
      );
      for (let i = 0; i < 4; i++)
        own.push({ kind: "struct", name: `own${i}`, size: 5000, members: [{ type: refer() }] });
      const split = open(own, base);
      const newBase = open([
        { kind: "int", name: "filler", size: 1 },
        ...types.map((type) => mapReferences(type, (id) => id && id + 1)),
      ]);
      const paths = ["base", "split", "out-base", "out-split", "new-base", "moved"].map((file) =>
        join(peer.folder, file),
      );
      writeFileSync(paths[0]!, encodeBtf(types));
      writeFileSync(paths[1]!, encodeBtf(own, { base }));
      writeFileSync(paths[4]!, encodeBtf(newBase.types()));
      const status = peer.run(...paths);
      const ours = distillBtf(split);
      const theirBase = openBtf(readFileSync(paths[2]!));
      const theirSplit = openBtf(readFileSync(paths[3]!), { base: theirBase });
      assert.is(text(ours.base), text(theirBase), `base of seed ${seed}`);
      assert.is(text(ours.split), text(theirSplit), `split of seed ${seed}`);
      if (status !== 0) {
        // Two floats of one name and size: either could be meant.
        assert.is(status, 3, `seed ${seed}`);
        assert.throws(
          () => relocateBtf(theirSplit, newBase),
          (error: unknown) => error instanceof BtfError && /has several/.test(error.message),
          `seed ${seed}`,
        );
        refused++;
        continue;
      }
      const moved = openBtf(readFileSync(paths[5]!), { base: newBase });
      assert.is(text(relocateBtf(theirSplit, newBase)), text(moved), `moved of seed ${seed}`);
    }
    console.log(`\nNOTE ${count} distilled and relocated BTF are the same as from libbpf, ${refused} refused by both`);
  });
}

test.run();
