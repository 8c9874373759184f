import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, type Instruction, ldImm64, mov, r0, r1, withMeta } from "../../src/asm/index.ts";
import { functionInfos, lineInfos } from "../../src/btf/index.ts";

const test = suite("btf/program-info");

const line = (number: number, text = "x") => ({ file: "f.c", line: number, column: 1, text });
const a = line(1);
const b = line(2);

/** Two functions; the first one begins with an `ld_imm64`, which takes two slots. */
function code(): Instruction[] {
  return [
    withMeta(ldImm64(r1, 1), { labels: ["main"], source: a }),
    withMeta(mov(r0, 0), { source: a }),
    exit(),
    withMeta(mov(r0, 1), { labels: ["other", "callee"], source: b }),
    withMeta(exit(), { source: b }),
  ];
}

const functions = [
  { label: "main", type: 7 },
  { label: "callee", type: 9 },
];

test("functions are where their labels are", () => {
  assert.equal(functionInfos({ instructions: code(), functions }), [
    { insnOffset: 0, type: 7 },
    { insnOffset: 32, type: 9 },
  ]);
  const longer = [code()[0]!, mov(r0, 5), ...code().slice(1)];
  assert.equal(
    functionInfos({ instructions: longer, functions: [...functions].reverse() }).map(({ insnOffset }) => insnOffset),
    [0, 40],
  );
});

test("functions that were removed do not count", () => {
  assert.equal(functionInfos({ instructions: code().slice(0, 3), functions }), [{ insnOffset: 0, type: 7 }]);
});

test("the kernel takes all functions or none", () => {
  const untyped = [functions[0]!, { label: "callee", type: undefined }];
  assert.equal(functionInfos({ instructions: code(), functions: untyped }), []);
  assert.equal(functionInfos({ instructions: code(), functions: [functions[1]!] }), [], "it has to begin with one");
  assert.equal(functionInfos({ instructions: code(), functions: [] }), []);
});

test("a line begins with another object, and with each function", () => {
  const found = (instructions: Instruction[]): number[][] =>
    lineInfos({ instructions, functions }).map(({ insnOffset, lineNumber }) => [insnOffset, lineNumber]);
  assert.equal(found(code()), [
    [0, 1],
    [32, 2],
  ]);
  // The same text in another object is another visit of the line.
  const twice = code();
  twice[1] = withMeta(mov(r0, 0), { source: line(1) });
  twice[3] = withMeta(mov(r0, 1), { labels: ["callee"], source: a });
  assert.equal(found(twice), [
    [0, 1],
    [16, 1],
    [32, 1],
    [40, 2],
  ]);
  const without = code();
  without[3] = withMeta(mov(r0, 1), { labels: ["callee"] });
  assert.equal(found(without), [], "a function begins without a line");
});

test.run();
