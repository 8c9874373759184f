import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, encode } from "../../src/asm/index.ts";
import { toHex } from "../../src/bytes/index.ts";

// The dialect of the `.data` files that test implementations of BPF, written from the description of their format: one
// statement a line, "#" comments, "%rN", labels on lines of their own, an implicit label `exit`.
const test = suite("asm text conformance dialect");

function hex(text: string): string {
  return toHex(encode(assemble(text, { style: "mnemonic" }))).replace(/(.{16})(?=.)/g, "$1 ");
}

const ALU = {
  add: 0x07,
  sub: 0x17,
  mul: 0x27,
  div: 0x37,
  or: 0x47,
  and: 0x57,
  lsh: 0x67,
  rsh: 0x77,
  mod: 0x97,
  xor: 0xa7,
  mov: 0xb7,
  arsh: 0xc7,
} as const;

function byte(value: number): string {
  return value.toString(16).padStart(2, "0");
}

test("arithmetic in both widths, with a number and a register", () => {
  for (const [name, opcode] of Object.entries(ALU)) {
    assert.is(hex(`${name} %r1, 0x5`), `${byte(opcode)}01000005000000`);
    assert.is(hex(`${name}32 %r1, -5`), `${byte(opcode - 3)}010000fbffffff`);
    assert.is(hex(`${name} %r1, %r2`), `${byte(opcode + 8)}21000000000000`);
    assert.is(hex(`${name}32 %r1, %r2`), `${byte(opcode + 5)}21000000000000`);
  }
  assert.is(
    hex("sdiv %r0, 2; smod32 %r0, %r1; neg %r3; neg32 %r3"),
    "3700010002000000 9c10010000000000 8703000000000000 8403000000000000",
  );
});

test("immediates: hexadecimal up to 0xffffffff, decimals signed", () => {
  assert.is(hex("mov %r0, 0xffffffff"), "b7000000ffffffff");
  assert.is(hex("mov %r0, 0x80000000"), "b700000000000080");
  assert.is(hex("mov %r0, -2147483648"), "b700000000000080");
  assert.is(hex("mov %r0, 2147483647"), "b7000000ffffff7f");
  assert.is(hex("mov32 %r0, -1"), "b4000000ffffffff");
  assert.is(hex("mov %r0, -0x1"), "b7000000ffffffff");
  assert.is(hex("stdw [%r1], 0xdeadbeef"), "7a010000efbeadde");
  assert.throws(() => hex("mov %r0, 0x100000000"), /does not fit/);
  assert.throws(() => hex("mov %r0, 2147483648"), /does not fit/);
  assert.throws(() => hex("mov %r0, -2147483649"), /does not fit/);
});

test("loads and stores", () => {
  const sizes = { b: 0x71, h: 0x69, w: 0x61, dw: 0x79 };
  for (const [size, opcode] of Object.entries(sizes)) {
    assert.is(hex(`ldx${size} %r0, [%r1]`), `${byte(opcode)}10000000000000`);
    assert.is(hex(`ldx${size} %r0, [%r1+2]`), `${byte(opcode)}10020000000000`);
    assert.is(hex(`ldx${size} %r0, [%r1-0x2]`), `${byte(opcode)}10feff00000000`);
    assert.is(hex(`st${size} [%r1+2], 0x7`), `${byte(opcode + 1)}01020007000000`);
    assert.is(hex(`stx${size} [%r1+2], %r2`), `${byte(opcode + 2)}21020000000000`);
  }
  assert.is(
    hex("ldxsb %r0, [%r1]\nldxsh %r0, [%r1+1]\nldxsw %r0, [%r1-1]"),
    "9110000000000000 8910010000000000 8110ffff00000000",
  );
  assert.is(
    hex("lddw %r0, 0x1122334455667788\nlddw %r1, -1"),
    "1800000088776655 0000000044332211 18010000ffffffff 00000000ffffffff",
  );
});

test("jumps to labels and distances", () => {
  const jumps = { jeq: 1, jgt: 2, jge: 3, jset: 4, jne: 5, jsgt: 6, jsge: 7, jlt: 10, jle: 11, jslt: 12, jsle: 13 };
  for (const [name, op] of Object.entries(jumps)) {
    assert.is(hex(`${name} %r1, 0x5, +1`), `${byte((op << 4) | 5)}01010005000000`);
    assert.is(hex(`${name} %r1, %r2, -1`), `${byte((op << 4) | 0xd)}21ffff00000000`);
    assert.is(hex(`${name}32 %r1, -1, +0`), `${byte((op << 4) | 6)}010000ffffffff`);
    assert.is(hex(`l:\n${name}32 %r1, %r2, l`), `${byte((op << 4) | 0xe)}21ffff00000000`);
  }
  assert.is(
    hex("ja +1\nja32 -1\nja l\nja32 l\nl:\nexit"),
    "0500010000000000 06000000ffffffff 0500010000000000 0600000000000000 9500000000000000",
  );
});

test("the first exit is the label exit", () => {
  const text = `
mov %r0, 1
jeq %r0, 1, exit
mov %r0, 2
exit
mov %r0, 3
ja exit
exit`;
  assert.is(
    hex(text),
    "b700000001000000 1500010001000000 b700000002000000 9500000000000000 b700000003000000 0500fdff00000000 9500000000000000",
  );
  // A label of that name in the file is the one.
  assert.is(hex("ja exit\nexit\nexit:\nexit"), "0500010000000000 9500000000000000 9500000000000000");
  assert.equal(assemble("mov %r0, 0\nja exit\nexit")[2]!.meta, { labels: ["exit"] });
});

test("byte order, sign extension", () => {
  assert.is(hex("le16 %r1\nle32 %r1\nle64 %r1"), "d401000010000000 d401000020000000 d401000040000000");
  assert.is(hex("be16 %r1\nbe32 %r1\nbe64 %r1"), "dc01000010000000 dc01000020000000 dc01000040000000");
  assert.is(hex("swap16 %r1\nswap32 %r1\nswap64 %r1"), "d701000010000000 d701000020000000 d701000040000000");
  assert.is(hex("bswap16 %r1\nbswap32 %r1\nbswap64 %r1"), "d701000010000000 d701000020000000 d701000040000000");
  assert.is(
    hex("movsx864 %r0, %r1\nmovsx1664 %r0, %r1\nmovsx3264 %r0, %r1"),
    "bf10080000000000 bf10100000000000 bf10200000000000",
  );
  assert.is(hex("movsx832 %r0, %r1\nmovsx1632 %r0, %r1"), "bc10080000000000 bc10100000000000");
});

test("atomic operations", () => {
  const operations = { add: 0, or: 0x40, and: 0x50, xor: 0xa0 };
  for (const [name, op] of Object.entries(operations)) {
    assert.is(hex(`lock ${name} [%r10-8], %r1`), `db1af8ff${byte(op)}000000`);
    assert.is(hex(`lock ${name}32 [%r10-8], %r1`), `c31af8ff${byte(op)}000000`);
    assert.is(hex(`lock fetch ${name} [%r10-8], %r1`), `db1af8ff${byte(op | 1)}000000`);
    assert.is(hex(`lock fetch ${name}32 [%r10-8], %r1`), `c31af8ff${byte(op | 1)}000000`);
  }
  assert.is(hex("lock xchg [%r10-8], %r1\nlock xchg32 [%r10-8], %r1"), "db1af8ffe1000000 c31af8ffe1000000");
  assert.is(hex("lock cmpxchg [%r10-8], %r1\nlock cmpxchg32 [%r10-8], %r1"), "db1af8fff1000000 c31af8fff1000000");
});

test("calls", () => {
  assert.is(
    hex("call 1\ncall 0x2\ncall runtime 3\ncall %r4"),
    "8500000001000000 8500000002000000 8520000003000000 8d04000000000000",
  );
  assert.is(
    hex("mov %r0, 0\ncall local f\nexit\nf:\nmov %r0, 1\nexit"),
    "b700000000000000 8510000001000000 9500000000000000 b700000001000000 9500000000000000",
  );
});

test("a program as the suite has them", () => {
  const text = `
# Copyright
# sums the bytes of a buffer

mov %r0, 0        # result
mov %r3, %r1
add %r3, %r2      # end
jeq %r2, 0, exit
loop:
ldxb %r4, [%r1]
add %r0, %r4
add %r1, 1
jne %r1, %r3, loop

exit
`;
  assert.is(
    hex(text),
    "b700000000000000 bf13000000000000 0f23000000000000 1502040000000000 7114000000000000 0f40000000000000 0701000001000000 5d31fcff00000000 9500000000000000",
  );
  assert.is(toHex(encode(assemble(text))), hex(text).replaceAll(" ", ""));
});

test.run();
