import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, type BtfTypeSpec, encodeBtf, openBtf } from "../../src/btf/index.ts";
import { BtfError } from "../../src/errors.ts";
import { missing, skip } from "../support/harness.ts";
import { compileWithLibbpf } from "./support/libbpf.ts";

const test = suite("btf/layout");

const TYPES: BtfTypeSpec[] = [
  { kind: "int", name: "int", size: 4, signed: true },
  { kind: "int", name: "char", size: 1 },
  { kind: "int", name: "__int128", size: 16 },
  { kind: "array", type: 1, indexType: 1, length: 3 },
  { kind: "array", type: 4, indexType: 1, length: 5 },
  { kind: "struct", name: "plain", size: 8, members: [{ type: 2 }, { type: 1, bitOffset: 32 }] },
  { kind: "struct", name: "packed", size: 5, members: [{ type: 2 }, { type: 1, bitOffset: 8 }] },
  { kind: "struct", name: "odd size", size: 5, members: [{ type: 1 }, { type: 2, bitOffset: 32 }] },
  { kind: "union", name: "u", size: 8, members: [{ type: 2 }, { type: 10 }] },
  { kind: "ptr", type: 0 },
  { kind: "typedef", name: "t", type: 5 },
  { kind: "const", type: 11 },
  { kind: "enum", name: "e", size: 1, values: [] },
  { kind: "struct", name: "empty", size: 0, members: [] },
  { kind: "struct", name: "bits", size: 4, members: [{ type: 1, bitOffset: 3, bitfieldSize: 5 }] },
  { kind: "var", name: "v", type: 6 },
  { kind: "decl_tag", name: "d", type: 6 },
  { kind: "type_tag", name: "tt", type: 6 },
  { kind: "float", name: "double", size: 8 },
  { kind: "array", type: 6, indexType: 1, length: 0 },
  { kind: "fwd", name: "f", target: "struct" },
  { kind: "func_proto", params: [] },
  { kind: "func", name: "fn", type: 22 },
  { kind: "datasec", name: ".data", size: 24, vars: [] },
  { kind: "array", type: 1, indexType: 1, length: 0x40000000 },
];

// By number: size and alignment, or the code of the error.
const EXPECTED: [number | string, number | string][] = [
  [4, 4],
  [1, 1],
  [16, 16],
  [12, 4],
  [60, 4],
  [8, 4],
  [5, 1],
  [5, 1],
  [8, 8],
  [8, 8],
  [60, 4],
  [60, 4],
  [1, 1],
  [0, 1],
  [4, 4],
  [8, 4],
  [8, 4],
  [8, 4],
  [8, 8],
  [0, 4],
  ["ERR_BTF_UNSIZED", "ERR_BTF_UNSIZED"],
  ["ERR_BTF_UNSIZED", "ERR_BTF_UNSIZED"],
  ["ERR_BTF_UNSIZED", "ERR_BTF_UNSIZED"],
  [24, "ERR_BTF_UNSIZED"],
  ["ERR_LIMIT", 4],
];

function attempt(run: () => number): number | string {
  try {
    return run();
  } catch (error) {
    assert.instance(error, BtfError);
    return (error as BtfError).code;
  }
}

test("sizes and alignments", () => {
  const btf = openBtf(encodeBtf(TYPES));
  for (const [i, type] of TYPES.entries()) {
    const found = [attempt(() => btf.sizeOf(i + 1)), attempt(() => btf.alignOf(i + 1))];
    assert.equal(found, EXPECTED[i], `type ${i + 1}: ${type.kind}`);
  }
  assert.is(
    attempt(() => btf.sizeOf(0)),
    "ERR_BTF_UNSIZED",
  );
});

test("pointers are as wide as long, or as told", () => {
  const pointer: BtfTypeSpec = { kind: "ptr", type: 0 };
  const long = (size: number): BtfTypeSpec => ({ kind: "int", name: "long unsigned int", size });
  assert.is(openBtf(encodeBtf([pointer])).sizeOf(1), 8);
  const narrow = openBtf(encodeBtf([pointer, long(4), { kind: "float", name: "double", size: 8 }]));
  assert.equal([narrow.sizeOf(1), narrow.alignOf(1), narrow.alignOf(3)], [4, 4, 4]);
  assert.is(openBtf(encodeBtf([pointer, long(4)]), { pointerSize: 8 }).sizeOf(1), 8);
  const split = openBtf(encodeBtf([pointer], { base: narrow }), { base: narrow });
  assert.is(split.sizeOf(split.firstId), 4);
});

// Size and alignment of each type as libbpf finds them: FILE OUT, two 64-bit numbers each.
const PEER = `
#include <bpf/btf.h>
#include <stdio.h>
int main(int argc, char **argv)
{
  struct btf *btf = btf__parse(argv[1], NULL);
  FILE *out = fopen(argv[2], "w");
  if (!btf || !out) return 1;
  for (unsigned int id = 0; id < btf__type_cnt(btf); id++) {
    long long found[2] = { btf__resolve_size(btf, id), btf__align_of(btf, id) };
    fwrite(found, sizeof(found), 1, out);
  }
  return fclose(out);
}
`;
const peer = compileWithLibbpf(PEER);
test.after(() => peer?.remove());

function comparable(btf: Btf, id: number): boolean {
  // libbpf aligns __int128 to 8 and takes no notice of variables, tags and sections.
  const kind = btf.kindOf(id);
  return kind !== "var" && kind !== "decl_tag" && kind !== "datasec";
}

const name = "agrees with libbpf";
const lacks = missing("kernel-btf");
if (peer === undefined) skip(test, name, "needs a C compiler with libbpf");
else if (lacks !== undefined) skip(test, name, lacks);
else {
  test(name, () => {
    let sizes = 0;
    let alignments = 0;
    const compare = (file: string, btf: Btf): void => {
      const out = `${peer.folder}/out`;
      assert.is(peer.run(file, out), 0);
      const theirs = new DataView(new Uint8Array(readFileSync(out)).buffer);
      for (let id = 1; id < btf.endId; id++) {
        if (!comparable(btf, id)) continue;
        const size = Number(theirs.getBigInt64(16 * id, true));
        const alignment = Number(theirs.getBigInt64(16 * id + 8, true));
        const ourSize = attempt(() => btf.sizeOf(id));
        assert.is(typeof ourSize === "number" ? ourSize : -1, size < 0 ? -1 : size, `size of type ${id}`);
        const ourAlignment = attempt(() => btf.alignOf(id));
        sizes++;
        if (ourAlignment === 16) continue;
        assert.is(
          typeof ourAlignment === "number" ? ourAlignment : 0,
          Math.max(0, alignment),
          `alignment of type ${id}`,
        );
        alignments++;
      }
    };
    compare("/sys/kernel/btf/vmlinux", openBtf(readFileSync("/sys/kernel/btf/vmlinux")));
    console.log(`\nNOTE ${sizes} sizes and ${alignments} alignments of the kernel's types agree with libbpf`);
  });
}

test.run();
