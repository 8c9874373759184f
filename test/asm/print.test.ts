import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  assemble,
  call,
  callKfunc,
  callLocal,
  exit,
  type Instruction,
  instruction,
  ja,
  jeq,
  label,
  ldFunction,
  ldImm64,
  ldMap,
  mov,
  type PrintOptions,
  print,
  printInstruction,
  program,
  r0,
  r1,
  r2,
  withMeta,
} from "../../src/asm/index.ts";

const test = suite("asm print");

const PROGRAM: readonly Instruction[] = [
  mov(r0, 0),
  ldImm64(r1, 5),
  jeq(r0, 1, 2),
  callLocal(2),
  call("map_lookup_elem"),
  exit(),
  withMeta(mov(r0, 1), { labels: ["helper"] }),
  exit(),
];

function lines(options: PrintOptions): string[] {
  return print(PROGRAM, options).split("\n");
}

test("instructions alone", () => {
  assert.equal(lines({}), [
    "r0 = 0",
    "r1 = 5 ll",
    "if r0 == 1 goto +2",
    "call pc+2",
    "call 1",
    "exit",
    "r0 = 1",
    "exit",
  ]);
  assert.is(print([]), "");
});

test("slot numbers", () => {
  assert.equal(lines({ numbers: true }), [
    "       0:\tr0 = 0",
    "       1:\tr1 = 5 ll",
    "       3:\tif r0 == 1 goto +2",
    "       4:\tcall pc+2",
    "       5:\tcall 1",
    "       6:\texit",
    "       7:\tr0 = 1",
    "       8:\texit",
  ]);
  assert.equal(lines({ numbers: true, style: "kernel" }), [
    "0: (b7) r0 = 0",
    "1: (18) r1 = 0x5",
    "3: (15) if r0 == 0x1 goto pc+2",
    "4: (85) call pc+2",
    "5: (85) call bpf_map_lookup_elem#1",
    "6: (95) exit",
    "7: (b7) r0 = 1",
    "8: (95) exit",
  ]);
  const long = print(
    Array.from({ length: 11 }, () => exit()),
    { numbers: true, style: "kernel" },
  ).split("\n");
  assert.equal([long[0], long[10]], [" 0: (95) exit", "10: (95) exit"]);
});

test("bytes", () => {
  assert.equal(lines({ raw: true, numbers: true }).slice(0, 2), [
    "       0:\tb7 00 00 00 00 00 00 00\tr0 = 0",
    "       1:\t18 01 00 00 05 00 00 00 00 00 00 00 00 00 00 00\tr1 = 5 ll",
  ]);
  assert.is(lines({ raw: true })[0], "b7 00 00 00 00 00 00 00\tr0 = 0");
  assert.is(lines({ raw: true, numbers: true, style: "kernel" })[0], "0: b7 00 00 00 00 00 00 00 (b7) r0 = 0");
  assert.is(lines({ raw: true, style: "mnemonic" })[0], "b7 00 00 00 00 00 00 00\tmov %r0, 0");
});

test("labels", () => {
  assert.equal(lines({ labels: true }), [
    "  r0 = 0",
    "  r1 = 5 ll",
    "  if r0 == 1 goto L1",
    "  call helper",
    "  call 1",
    "L1:",
    "  exit",
    "helper:",
    "  r0 = 1",
    "  exit",
  ]);
  assert.equal(lines({ labels: true, style: "mnemonic" }).slice(2, 4), ["  jeq %r0, 1, L1", "  call local helper"]);
  assert.equal(lines({ labels: true, numbers: true }).slice(5, 7), ["L1:", "       6:\texit"]);
});

test("labels made up avoid those that are there; functions have their own", () => {
  const code = program(
    ja(1),
    exit(),
    label("L1"),
    callLocal(2),
    ldFunction(r1, "func_1"),
    exit(),
    exit(),
    label("func_1"),
    exit(),
  );
  assert.equal(print(code, { labels: true }).split("\n"), [
    "  goto L1",
    "  exit",
    "L1:",
    "  call func_2",
    "  r1 = func_1 ll",
    "func_2:",
    "  exit",
    "  exit",
    "func_1:",
    "  exit",
  ]);
});

test("a distance that leads nowhere stays one", () => {
  const code = [ja(5), ja(1), ldImm64(r0, 1), exit()];
  assert.is(print(code, { labels: true }), "  goto +5\n  goto +1\n  r0 = 1 ll\n  exit");
});

test("names that are not yet resolved", () => {
  const counts = { fd: 7, name: "counts" };
  const code = program(
    ldMap(r1, "events"),
    ldMap(r1, counts),
    ldMap(r1, { fd: 7 }),
    callLocal("f"),
    callKfunc("bpf_cast"),
    jeq(r0, 0, "out"),
    label("out"),
    exit(),
    label("f"),
    ldFunction(r2, "f"),
    exit(),
  );
  assert.equal(print(code).split("\n"), [
    "  r1 = map[events]",
    "  r1 = map[counts]",
    "  ld_pseudo\tr1, 1, 0",
    "  call f",
    "  call kfunc bpf_cast",
    "  if r0 == 0 goto out",
    "out:",
    "  exit",
    "f:",
    "  r2 = f ll",
    "  exit",
  ]);
  assert.equal(print(code, { style: "mnemonic", labels: false }).split("\n"), [
    "lddw %r1, map[events]",
    "lddw %r1, map[counts]",
    "lddw %r1, map[fd:0]",
    "call local f",
    "call kfunc bpf_cast",
    "jeq %r0, 0, out",
    "exit",
    "lddw %r2, subprog[f]",
    "exit",
  ]);
  assert.is(printInstruction(assemble("r1 = table + 4 ll")[0]!), "r1 = table + 4 ll");
  assert.is(printInstruction(assemble("r1 = table - 4 ll")[0]!, { style: "kernel" }), "r1 = table - 4 ll");
  assert.is(printInstruction(assemble("lddw %r1, table + 4")[0]!, { style: "mnemonic" }), "lddw %r1, table + 4");
});

test("labels with odd names are put in quotes", () => {
  const code = program(ja("a b"), label("a b"), label('"'), label("r1"), label("x\ty"), exit());
  assert.equal(print(code).split("\n"), ['  goto "a b"', '"a b":', '"\\"":', '"r1":', '"x\\011y":', "  exit"]);
});

test("source lines, each once", () => {
  const from = (
    line: number,
    text: string,
    file = "a.c",
  ): { source: { file: string; line: number; column: number; text: string } } => ({
    source: { file, line, column: 1, text },
  });
  const code = [
    withMeta(mov(r0, 0), from(3, "  int x = 0;")),
    withMeta(mov(r1, 0), from(3, "  int x = 0;")),
    mov(r2, 0),
    withMeta(exit(), from(4, "return x;", "")),
    withMeta(exit(), from(0, "nowhere", "")),
  ];
  assert.equal(print(code, { source: true }).split("\n"), [
    "; int x = 0; @ a.c:3",
    "r0 = 0",
    "r1 = 0",
    "r2 = 0",
    "; return x; @ line 4",
    "exit",
    "; nowhere",
    "exit",
  ]);
  assert.is(print(code, { source: true, style: "mnemonic" }).split("\n")[0], "# int x = 0; @ a.c:3");
});

test("helpers by name", () => {
  const code = [call("map_lookup_elem"), call(9999)];
  assert.is(print(code), "call 1\ncall 9999");
  assert.is(print(code, { helpers: true }), "call bpf_map_lookup_elem\ncall 9999");
  assert.is(print(code, { helpers: true, style: "mnemonic" }), "call bpf_map_lookup_elem\ncall 9999");
  assert.is(print(code, { style: "kernel" }), "call bpf_map_lookup_elem#1\ncall unknown#9999");
  assert.is(print(code, { style: "kernel", helpers: false }), "call 1\ncall 9999");
});

test("hexadecimal numbers", () => {
  const code = assemble(
    "r1 = -5\nr1 = -5 ll\nr1 = *(u64 *)(r2 - 16)\n*(u8 *)(r1 + 1) = 255\ngoto -3\nr0 = *(u32 *)skb[12]",
  );
  assert.equal(print(code, { hex: true }).split("\n"), [
    "r1 = -0x5",
    "r1 = -0x5 ll",
    "r1 = *(u64 *)(r2 - 0x10)",
    "*(u8 *)(r1 + 0x1) = 0xff",
    "goto -0x3",
    "r0 = *(u32 *)skb[0xc]",
  ]);
  assert.is(print(code.slice(0, 1), { hex: true, style: "mnemonic" }), "mov %r1, -0x5");
  assert.is(print(code.slice(0, 1), { hex: true, style: "kernel" }), "r1 = -5");
});

test("colors change nothing but the color", () => {
  for (const style of ["llvm", "kernel", "mnemonic"] as const) {
    const plain = print(PROGRAM, { style, labels: true, numbers: true, raw: true });
    const colored = print(PROGRAM, { style, labels: true, numbers: true, raw: true, color: true });
    assert.not.equal(colored, plain);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape sequences are what is looked for
    assert.is(colored.replace(/\x1b\[[0-9]*m/g, ""), plain);
  }
  assert.is(
    JSON.stringify(printInstruction(mov(r0, 5), { color: true })),
    '"\\u001b[36mr0\\u001b[0m = \\u001b[33m5\\u001b[0m"',
  );
});

test("what is no instruction is printed as data", () => {
  assert.is(printInstruction(instruction(0xff, 1, 2, -1, 5)), ".quad 0x00000005ffff21ff");
  assert.is(printInstruction(instruction(0xb7, 11, 0, 0, 5)), ".quad 0x0000000500000bb7");
  assert.is(printInstruction(instruction(0x18, 1, 7, 0, 5, 6)), ".quad 0x0000000500007118, 0x0000000600000000");
  assert.is(printInstruction(withMeta(ldImm64(r1, 5), { secondSlot: "missing" })), ".quad 0x0000000500000118");
  assert.throws(
    () => print([mov(r0, 0)], { style: "intel" as "llvm" }),
    (error: Error) => error instanceof RangeError && /^Unknown style "intel"/.test(error.message),
  );
});

test.run();
