import { suite } from "uvu";
import * as assert from "uvu/assert";
import { add, bpf, encode, exit, jeq, label, mov, print, r0, r1, r6, w2 } from "../../src/asm/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { refusal } from "./refusal.ts";

const test = suite("asm text template");

test("values of every kind are put in", () => {
  const counts = { fd: 7, name: "counts" };
  const done = "done";
  const target = label("again");
  const code = bpf`
    ${target}:
    ${r1} = ${counts} ll
    ${w2} = ${5}
    ${r6} = ${0x1122334455667788n}
    ${r6} += ${-3}
    call ${"bpf_map_lookup_elem"}
    if ${r0} == 0 goto ${done}
    ${[mov(r0, 1), [add(r0, 2)]]}
    ${exit()}
    goto ${target}
  ${done}: exit`;
  assert.is(
    print(code, { labels: true }),
    [
      "again:",
      "  ld_pseudo\tr1, 1, 7",
      "  w2 = 5",
      "  r6 = 1234605616436508552 ll",
      "  r6 += -3",
      "  call 1",
      "  if r0 == 0 goto done",
      "  r0 = 1",
      "  r0 += 2",
      "  exit",
      "  goto again",
      "done:",
      "  exit",
    ].join("\n"),
  );
  assert.is(code[0]!.meta?.map, counts);
});

test("lists of instructions may name labels of the text, and define some", () => {
  const list = [jeq(r1, 0, "out"), label("mid"), mov(r0, 1), jeq(r0, 1, "mid")];
  const code = bpf`
    goto mid
    ${list}
  out: exit`;
  assert.is(
    toHex(encode(code)),
    "0500010000000000" + "1501020000000000" + "b700000001000000" + "1500feff01000000" + "9500000000000000",
  );
  // What was put in is left as it was.
  assert.is(list.length, 4);
  assert.is(toHex(encode(bpf`${[mov(r0, 0), exit()]}`)), "b7000000000000009500000000000000");
});

test("one map twice, two maps of one name, a map without a name", () => {
  const a = { fd: 3, name: "m" };
  const b = { fd: 4, name: "m" };
  const c = { fd: 5 };
  const d = { fd: 6, name: "odd name" };
  const code = bpf`r1 = ${a} ll; r1 = ${b} ll; r1 = ${a}; r1 = ${c} ll; r1 = map[${d}][0]+8; exit`;
  assert.equal(
    code.slice(0, 5).map(({ imm, meta }) => [imm, meta?.map]),
    [
      [3, a],
      [4, b],
      [3, a],
      [5, c],
      [6, d],
    ],
  );
});

test("options go before the text", () => {
  assert.is(toHex(encode(bpf.with({ style: "kernel" })`r1 = 0x5`)), "18010000050000000000000000000000");
  assert.is(toHex(encode(bpf.with({ style: "mnemonic" })`mov ${r1}, ${5}`)), "b701000005000000");
  assert.is(toHex(encode(bpf`lddw %r1, ${{ fd: 7 }}`)), "18110000070000000000000000000000");
});

test("a backslash is the assembler's", () => {
  assert.is(bpf`r0 = '\n'`[0]!.imm, 10);
});

test("errors show the text as it was put together", () => {
  const error = refusal(
    () => bpf`
    r0 = ${5}
    goto ${"nowhere"}
  `,
  );
  assert.is(error.message, 'Unknown label "nowhere" at line 3:10\n      goto nowhere\n           ^~~~~~~');
  assert.is(
    refusal(
      () => bpf`l: exit
    ${[label("l"), exit()]}`,
    ).problems[0]!.message,
    'Label "l" is already defined',
  );
  assert.is(refusal(() => bpf`r0 = ${[exit()]}`).problems.length, 1);
});

test("values of other kinds are refused", () => {
  const message = "Value 2 of the template must be a number, text, a register, a label, a map or instructions, not ";
  const put = (value: unknown): void => void bpf`r0 = ${1}; r1 = ${value as number}`;
  for (const [value, shown] of [
    [undefined, "undefined"],
    [null, "null"],
    [true, "boolean"],
    [{}, "object"],
    [() => 1, "function"],
  ] as const) {
    assert.throws(
      () => put(value),
      (error: Error) => error instanceof TypeError && error.message === message + shown,
    );
  }
  assert.throws(
    () => put(1.5),
    (error: Error) =>
      error instanceof TypeError && error.message === "Value 2 of the template must be a whole number, not 1.5",
  );
});

test.run();
