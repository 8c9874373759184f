import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AssembleOptions, assemble, assembleFile, encode, link, print } from "../../src/asm/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { refusal } from "./refusal.ts";

const test = suite("asm text grammar");

/** The bytes of a text, a space between slots. */
function hex(text: string, options?: AssembleOptions): string {
  return toHex(encode(assemble(text, options))).replace(/(.{16})(?=.)/g, "$1 ");
}

const EXIT = "9500000000000000";
const ZERO = "b700000000000000";

test("comments, separators and line ends", () => {
  const text = [
    "# a comment",
    "// another",
    "/* and",
    "   a third */ r0 = 0 # behind",
    "; a source line, as disassemblers print it",
    "r0 = 0; r0 = 0 ;; // two in a line",
    "r0 /* inside */ = 0",
    "\texit\r",
  ].join("\n");
  assert.is(hex(text), [ZERO, ZERO, ZERO, ZERO, EXIT].join(" "));
  assert.is(hex(text.replaceAll("\n", "\r\n")), hex(text));
  assert.is(hex(`\ufeff${text}`), hex(text));
  assert.is(hex("mov %r0, 0; exit # c\n; c\n// c\n/* c */"), `${ZERO} ${EXIT}`);
  assert.equal(assemble(""), []);
  assert.equal(assemble("\n ; \n#"), []);
});

test("labels", () => {
  const looped = `${ZERO} 0700000001000000 a500feff0a000000 ${EXIT}`;
  assert.is(hex("r0 = 0\nloop: r0 += 1\nif r0 < 10 goto loop\nexit"), looped);
  assert.is(hex("r0 = 0\nloop:\n\n  r0 += 1\nif r0 < 10 goto loop\nexit"), looped);
  assert.is(hex("r0 = 0\na: b: c : r0 += 1; if r0 < 10 goto c; exit"), looped);
  assert.is(hex('r0 = 0\n"a b":\nr0 += 1\nif r0 < 10 goto "a b"\nexit'), looped);
  assert.is(hex("r0 = 0\n1: r0 += 1\nif r0 < 10 goto 1b\nexit"), looped);
  assert.is(hex("mov %r0, 0\nloop: add %r0, 1\njlt %r0, 10, loop\nexit"), looped);
  assert.is(hex("mov r0, 0\n.L0:\nadd r0, 1\njlt r0, 10, .L0\nexit"), looped);
  // A name may be that of an instruction.
  assert.is(hex("r0 = 0\nif: r0 += 1\nif r0 < 10 goto if\nexit"), looped);
  assert.is(hex("mov %r0, 0\nadd: add %r0, 1\njlt %r0, 10, add\nexit"), looped);
  // ld_imm64 takes two slots.
  assert.is(hex("goto out\nr1 = 1 ll\nout: exit"), `0500020000000000 1801000001000000 0000000000000000 ${EXIT}`);
});

test("numeric labels are local", () => {
  assert.is(
    hex("1: goto 1f; goto 1b\n1: goto 1f; goto 1b; 1: exit"),
    "0500010000000000 0500feff00000000 0500010000000000 0500feff00000000 9500000000000000",
  );
  // They are places too when a jump becomes long.
  const far = `goto 1f\n${"r0 = 0\n".repeat(40_000)}1: goto 1b\nexit`;
  const code = assemble(far);
  assert.equal([code[0]!.opcode, code[0]!.imm], [0x06, 40_000]);
  assert.equal([code[40_001]!.opcode, code[40_001]!.offset], [0x05, -1]);
  assert.is(code[40_001]!.meta, undefined);
});

test("a jump too far for its 16 bits becomes long, where the target allows it", () => {
  const body = "r0 = 0\n".repeat(40_000);
  const code = assemble(`if r1 == 0 goto out\ncall f\n${body}out: exit\nf: exit`);
  assert.is(print(code.slice(0, 3)), "if r1 != 0 goto +1\ngotol +40001\ncall pc+40001");
  assert.is(code.length, 40_005);
  const error = refusal(() => assemble(`r0 = 0\n  if r1 == 0 goto out\n${body}out: exit`, { cpu: "v3" }));
  assert.is(
    error.message,
    `Jump to "out" spans 40000 slots, more than 16 bits hold at line 2:3
    if r1 == 0 goto out
    ^~~~~~~~~~~~~~~~~~~
Hint: Use cpu "v4" (gotol, Linux 6.6), or bring the target nearer`,
  );
});

test("labels stay, references on request", () => {
  const text = "f: if r1 == 0 goto out\ncall f\nout: again: exit";
  const [first, second, third] = assemble(text);
  assert.equal(first!.meta, { labels: ["f"] });
  assert.is(second!.meta, undefined);
  assert.equal(third!.meta, { labels: ["out", "again"] });
  const kept = assemble(text, { link: false });
  assert.equal(kept[0]!.meta, { labels: ["f"], reference: "out" });
  assert.equal(kept[1]!.meta, { reference: "f" });
  assert.is(kept[0]!.offset, 1);
  assert.is(toHex(encode(link(kept))), toHex(encode(assemble(text))));
});

test("source lines on request", () => {
  const code = assemble("# c\r\nr0 = 0; r1 = 1\r\n\n  f: exit", { source: true, file: "a.s" });
  assert.equal(
    code.map(({ meta }) => meta),
    [
      { source: { file: "a.s", line: 2, column: 1, text: "r0 = 0; r1 = 1" } },
      { source: { file: "a.s", line: 2, column: 9, text: "r0 = 0; r1 = 1" } },
      { source: { file: "a.s", line: 4, column: 6, text: "  f: exit" }, labels: ["f"] },
    ],
  );
});

test("constants and expressions", () => {
  const value = (expression: string): number => assemble(`r0 = ${expression}`)[0]!.imm;
  assert.is(value("1 + 2 * 3"), 7);
  assert.is(value("(1 + 2) * 3"), 9);
  assert.is(value("10 - 3 - 2"), 5);
  assert.is(value("1 << 4 | 1"), 17);
  assert.is(value("0xff & ~0xf ^ 1"), 0xf1);
  assert.is(value("-7 / 2"), -3);
  assert.is(value("-7 % 4"), -3);
  assert.is(value("!5 + !0"), 1);
  assert.is(value("- - 5"), 5);
  assert.is(value("0b101"), 5);
  assert.is(value("017"), 15);
  assert.is(value("'a' + '\\n'"), 107);
  assert.is(value("0X1F"), 31);
  assert.is(value("5 // comment"), 5);
  assert.is(value("5 /* comment */"), 5);
  assert.is(value("6 / 2"), 3);
  const text = `
    .equ SIZE, 8
    .set OFF, SIZE * 2
    MASK = (1 << SIZE) - 1
    r1 = *(u64 *)(r10 - OFF)
    r1 = *(u64 *)(r10 - SIZE + 4)
    r1 &= MASK
    *(u32 *)(r10 + -OFF) = SIZE
    if r1 == MASK goto +SIZE
    if r1 == OFF & 3 goto +0
    .set OFF, 1
    r1 = OFF`;
  assert.is(
    hex(text),
    "79a1f0ff00000000 79a1fcff00000000 57010000ff000000 620af0ff08000000 15010800ff000000 1501000000000000 b701000001000000",
  );
  assert.is(hex("N = 3\nmov %r1, N\nldxw %r1, [%r2+N*4]"), "b701000003000000 61210c0000000000");
  assert.is(hex("r1 = LIMIT", { constants: { LIMIT: 64n } }), "b701000040000000");
});

test("a constant that does not fit 32 bits is loaded whole", () => {
  assert.is(hex("r1 = 0x1122334455667788"), "1801000088776655 0000000044332211");
  assert.is(hex("r1 = 4294967295"), "18010000ffffffff 0000000000000000");
  assert.is(hex("r1 = 0xffffffff"), "18010000ffffffff 0000000000000000");
  assert.is(hex("r1 = -2147483649"), "18010000ffffff7f 00000000ffffffff");
  assert.is(hex("r1 = 18446744073709551615"), "18010000ffffffff 00000000ffffffff");
  assert.is(hex("r1 = 1 << 40"), "1801000000000000 0000000000010000");
  assert.is(hex("r1 = -2147483648"), "b701000000000080");
  assert.is(hex("r1 = 2147483647"), "b7010000ffffff7f");
  assert.is(hex("r1 = 5 ll"), "1801000005000000 0000000000000000");
  assert.is(hex("r1 = 5ll"), "1801000005000000 0000000000000000");
  assert.is(hex("r1 = 5 ULL"), "1801000005000000 0000000000000000");
  assert.is(hex("w1 = 0xffffffff"), "b4010000ffffffff");
  assert.is(hex("w1 = 4294967295"), "b4010000ffffffff");
  assert.is(hex("r1 += 0xffffffff"), "07010000ffffffff");
  assert.is(hex("lddw %r1, -1"), "18010000ffffffff 00000000ffffffff");
});

test("a hexadecimal number tells mov from ld_imm64 in the kernel's style only", () => {
  const mov = "b701000005000000";
  const wide = "1801000005000000 0000000000000000";
  assert.is(hex("r1 = 0x5"), mov);
  assert.is(hex("r1 = 0x5", { style: "llvm" }), mov);
  assert.is(hex("r1 = 0x5", { style: "kernel" }), wide);
  assert.is(hex("r1 = 5", { style: "kernel" }), "b701000005000000");
  const after = "0500000000000000";
  assert.is(hex("r1 = 0x5\ngoto pc+0"), `${wide} ${after}`);
  assert.is(hex("r1 = 0x5\ngoto +0"), `${mov} ${after}`);
  // A text that mixes the two is a person's.
  assert.is(hex("r1 = 0x5\ngoto pc+0\nr2 = 1 ll"), `${mov} ${after} 1802000001000000 0000000000000000`);
  assert.is(hex("r1 = -0x5", { style: "kernel" }), "b7010000fbffffff");
  assert.is(hex("0: (18) r1 = 0x5"), wide);
  assert.is(hex("0: (b7) r1 = 5"), mov);
});

test("what disassemblers print is read with all that stands around it", () => {
  const log = `
0: R1=ctx() R10=fp0
; int main(void) @ main.c:3
0: (b7) r0 = 0                        ; R0=0
1: (18) r1 = 0x5                      ; R1=5; and more
3: (79) r1 = *(u64 *)(r10 -8)         ; R1=scalar() R10=fp0 fp-8=mmmmmmmm
4: (85) call bpf_map_lookup_elem#1    ; frame1: R0=map_value_or_null(id=1)
5: (15) if r0 == 0x0 goto pc+1        ; R0=0
6: (95) exit
`.replace(/^0: R1.*$/m, "");
  const code =
    "b700000000000000 1801000005000000 0000000000000000 79a1f8ff00000000 8500000001000000 1500010000000000 9500000000000000";
  assert.is(hex(log), code);
  const objdump = `
0000000000000000 <main>:
       0:\tb7 00 00 00 00 00 00 00\tr0 = 0x0
       1:\t18 01 00 00 05 00 00 00 00 00 00 00 00 00 00 00\tr1 = 0x5 ll
       3:\t79 a1 f8 ff 00 00 00 00\tr1 = *(u64 *)(r10 - 0x8)
       4:\t85 00 00 00 01 00 00 00\tcall 0x1
       5:\t15 00 01 00 00 00 00 00\tif r0 == 0x0 goto +0x1 <LBB0_2>
       6:\t95 00 00 00 00 00 00 00\texit
`;
  assert.is(hex(objdump), code);
  assert.equal(assemble(objdump)[0]!.meta, { labels: ["main"] });
  // A loaded program's calls hold addresses.
  assert.is(hex("85: (85) call bpf_map_lookup_elem#231200"), "8500000001000000");
  assert.is(hex("call bpf_iter_num_new#71234"), "8520000042160100");
  assert.is(hex("call unknown#9999; call bpf_unspec#0"), "850000000f270000 8500000000000000");
  assert.is(hex("r0 = 0 ; R0=0 R1=ctx()\nexit"), `${ZERO} ${EXIT}`);
});

test("calls", () => {
  assert.is(
    hex("call 1; call bpf_map_lookup_elem; call map_lookup_elem; call bpf_map_lookup_elem#1"),
    Array(4).fill("8500000001000000").join(" "),
  );
  assert.is(
    hex("call f; call local f; call pc+1; call pc-2; f: exit"),
    "8510000003000000 8510000002000000 8510000001000000 85100000feffffff 9500000000000000",
  );
  // A function of the text comes before a helper of that name.
  assert.is(hex("call map_lookup_elem\nmap_lookup_elem: exit"), "8510000000000000 9500000000000000");
  assert.is(
    hex("call local +1; call local 1f; 1: exit; mov %r0, 0"),
    "8510000001000000 8510000000000000 9500000000000000 b700000000000000",
  );
  assert.is(hex("callx r3; callx 3; call r3"), "8d03000000000000 8d00000003000000 8d03000000000000");
  assert.is(hex("call %r3; mov %r0, 0"), "8d03000000000000 b700000000000000");
  assert.is(hex("call runtime 7; mov %r0, 0"), "8520000007000000 b700000000000000");
  const kfuncs = { bpf_cast: { btfId: 1234, fdIndex: 2 } };
  assert.is(
    hex("call bpf_cast; call kfunc bpf_cast; call kfunc#1234@2", { kfuncs }),
    Array(3).fill("85200200d2040000").join(" "),
  );
  const [unknown, declared] = assemble("call kfunc foo\n.extern bar\ncall bar");
  assert.equal([unknown!.src, unknown!.meta], [2, { reference: "foo" }]);
  assert.equal([declared!.src, declared!.meta], [2, { reference: "bar" }]);
  assert.equal(assembleFile(".extern bar\ncall bar").externs, ["bar"]);
});

test("maps and other addresses", () => {
  const counts = { fd: 7, name: "counts" };
  const maps = { counts, other: 9 };
  const [a, b, c, d] = assemble("r1 = counts ll\nr1 = map[counts]\nr1 = map[counts][0]+16\nr1 = other ll", { maps });
  assert.equal([a!.src, a!.imm, a!.meta?.map], [1, 7, counts]);
  assert.equal([b!.src, b!.imm, b!.meta?.map], [1, 7, counts]);
  assert.equal([c!.src, c!.imm, c!.high], [2, 7, 16]);
  assert.equal([d!.src, d!.imm, d!.meta], [1, 9, undefined]);
  assert.is(hex("r1 = counts", { maps }), "1811000007000000 0000000000000000");
  assert.is(hex("lddw %r1, counts", { maps }), "1811000007000000 0000000000000000");
  assert.is(hex("lddw %r1, map[counts][0]+16", { maps }), "1821000007000000 0000000010000000");
  assert.is(hex("r1 = counts + 16 ll", { maps }), "1821000007000000 0000000010000000");
  // Unknown ones wait for link().
  const open = assemble("r1 = counts ll\nr2 = map[counts]\nexit");
  assert.equal([open[0]!.src, open[0]!.meta], [0, { reference: "counts" }]);
  assert.equal([open[1]!.src, open[1]!.meta], [1, { reference: "counts" }]);
  assert.is(
    toHex(encode(link(open, { maps }))),
    `${"18110000070000000000000000000000"}${"18120000070000000000000000000000"}${EXIT}`,
  );
  // A function's address.
  assert.is(
    hex("r1 = f ll; r1 = subprog[f]; f: exit"),
    `1841000003000000 0000000000000000 1841000001000000 0000000000000000 ${EXIT}`,
  );
  assert.is(hex("lddw %r1, f\nmov %r0, 0\nf: exit"), `1841000002000000 0000000000000000 ${ZERO} ${EXIT}`);
  // A place in data, with what is added to it.
  const [data] = assemble("r1 = table + 4 ll\nexit\n.data\ntable: .long 1, 2");
  assert.equal([data!.src, data!.imm, data!.meta], [0, 4, { reference: "table" }]);
  assert.equal(assemble("r1 = btf[bpf_prog_active]")[0]!.meta, { reference: "bpf_prog_active" });
});

test("raw code", () => {
  assert.is(hex(".quad 0x0000000000000095"), EXIT);
  assert.is(hex(".byte 0xb7, 0, 0, 0\n.long 5\n.8byte 0x95"), `b700000005000000 ${EXIT}`);
  assert.is(hex("l: .quad 0xffffffffffffffff\ngoto l"), "ffffffffffffffff 0500feff00000000");
  assert.is(hex(".quad 0x0000000500000118, 0x0000000700000000"), "1801000005000000 0000000007000000");
  assert.equal(
    assemble(".quad 0x18, 0x0700000000000034").map(({ high, meta }) => [high, meta]),
    [[0x07000000, { secondSlot: { opcode: 0x34, registers: 0, offset: 0 } }]],
  );
  assert.equal(assemble(".quad 0x18")[0]!.meta, { secondSlot: "missing" });
  assert.is(hex(".quad 0x18\nexit"), `1800000000000000 ${EXIT}`);
  assert.is(
    refusal(() => assemble(".quad 0x18\nl: .quad 0x18")).problems[0]!.message,
    'Label "l" stands inside raw bytes of an instruction',
  );
});

const FILE = `
  .file "a.c"
  .text
  .section xdp,"ax",@progbits
  .globl pass
  .p2align 3
  .type pass,@function
pass:                       # @pass
  r1 = counter ll
  call helper
  if r0 == 0 goto LBB0_2
  exit
LBB0_2:
  w0 = 2
  exit
.Lend:
  .size pass, .Lend-pass
  .text
  .type helper,@function
helper:
  r0 = 1
  exit
second:
  r0 = 2
  exit
  .section tc/ingress,"ax"
  .weak drop
drop: call second; exit
  .section .rodata,"a",@progbits
name: .asciz "eth0\\n\\x41\\101"
  .align 4
table:
  .long 1, -1, 0xffffffff
  .quad name+3, pass
  .short table-name
  .byte 'x', 1+1
  .zero 3
  .zero 2, 0xee
  .ascii "über", "z"
  .uleb128 300
  .sleb128 -2
  .fill 2, 2, 0x1234
  .section license,"aw",@progbits
  .string "GPL"
  .bss
counter: .zero 8
  .comm shared, 16, 8
  .equ ANSWER, 42
`;

test("a whole file: sections, functions, data", () => {
  const file = assembleFile(FILE);
  assert.is(file.style, "llvm");
  assert.equal(
    file.sections.map((section) =>
      section.kind === "code" ? [section.name, section.start, section.end] : [section.name, section.bytes.length],
    ),
    [
      [".text", 0, 4],
      ["xdp", 4, 10],
      ["tc/ingress", 10, 12],
      [".rodata", 58],
      ["license", 4],
      [".bss", 24],
    ],
  );
  assert.equal(file.functions, [
    { name: "helper", section: ".text", binding: "local", start: 0, end: 2 },
    { name: "second", section: ".text", binding: "local", start: 2, end: 4 },
    { name: "pass", section: "xdp", binding: "global", start: 4, end: 10 },
    { name: "drop", section: "tc/ingress", binding: "weak", start: 10, end: 12 },
  ]);
  assert.equal([...file.constants], [["ANSWER", 42n]]);
  // Calls lead across sections.
  assert.is(print(file.instructions.slice(5, 6)), "call pc-7");
  assert.is(print(file.instructions.slice(10, 11)), "call pc-10");
  const rodata = file.sections[3]!;
  if (rodata.kind !== "data") throw new Error("no data");
  assert.is(
    toHex(rodata.bytes),
    [
      "657468300a414100",
      "01000000ffffffffffffffff",
      "0000000000000000".repeat(2),
      "0800",
      "7802",
      "000000",
      "eeee",
      "c3bc626572",
      "7a",
      "ac02",
      "7e",
      "34123412",
    ].join(""),
  );
  assert.equal(
    [...rodata.labels],
    [
      ["name", 0],
      ["table", 8],
    ],
  );
  assert.equal(rodata.relocations, [
    { offset: 20, size: 8, symbol: "name", addend: 3n },
    { offset: 28, size: 8, symbol: "pass", addend: 0n },
  ]);
  assert.is(assemble(FILE).length, 12);
});

test("sections come and go", () => {
  const text = `
    r0 = 0
    .pushsection .data
    .byte 1
    .popsection
    exit
    .section .data
    .byte 2
    .previous
    r0 = 1
    .section unnamed
    .long 7`;
  const file = assembleFile(text);
  assert.is(print(file.instructions), "r0 = 0\nexit\nr0 = 1");
  assert.equal(
    file.sections.map((section) => (section.kind === "data" ? [section.name, toHex(section.bytes)] : section.name)),
    [".text", [".data", "0102"], ["unnamed", "07000000"]],
  );
});

test("the style is found by the first statement that tells", () => {
  const style = (text: string): string => assembleFile(text).style;
  assert.is(style("exit"), "llvm");
  assert.is(style("r0 = 0\nexit"), "llvm");
  assert.is(style("r0 = *(u64 *)(r1 +8)"), "kernel");
  assert.is(style("goto pc+0"), "kernel");
  assert.is(style("# r0 = 0\n; r0 = 0\nexit\nmov %r0, 0"), "mnemonic");
  assert.is(style("exit\nl:\n.equ A, 1\nB = 2\ncall 1\nlock add [%r1], %r2"), "mnemonic");
  assert.is(style("exit\nl:\ncall 1\nlock *(u64 *)(r1 + 0) += r2"), "llvm");
  assert.is(style("call %r1"), "mnemonic");
  assert.is(style("l: exit"), "llvm");
});

test("other assemblers' names are read in mnemonic style", () => {
  const same: readonly (readonly [string, string])[] = [
    ["add64 %r1, 5", "add %r1, 5"],
    ["jeq64 %r1, 5, +1", "jeq %r1, 5, +1"],
    ["jeq %r1, 5, 1", "jeq %r1, 5, +1"],
    ["add r1, r2", "add %r1, %r2"],
    ["ldxdw r1, [r2+0x8]", "ldxdw %r1, [%r2+8]"],
    ["ldxdw %r1, [ %r2 - 0x8 ]", "ldxdw %r1, [%r2-8]"],
    ["ldxb %r0, [%fp-1]", "ldxb %r0, [%r10-1]"],
    ["swap16 %r1", "bswap16 %r1"],
    ["bswap %r1, 16", "bswap16 %r1"],
    ["endbe %r1, 32", "be32 %r1"],
    ["endle %r1, 64", "le64 %r1"],
    ["movs %r1, %r2, 8", "movsx864 %r1, %r2"],
    ["movs32 %r1, %r2, 16", "movsx1632 %r1, %r2"],
    ["aadd [%r10-8], %r1", "lock add [%r10-8], %r1"],
    ["aor32 [%r10-8], %r1", "lock or32 [%r10-8], %r1"],
    ["afand [%r10-8], %r1", "lock fetch and [%r10-8], %r1"],
    ["afxor32 [%r10-8], %r1", "lock fetch xor32 [%r10-8], %r1"],
    ["axchg [%r10-8], %r1", "lock xchg [%r10-8], %r1"],
    ["acmp32 [%r10-8], %r1", "lock cmpxchg32 [%r10-8], %r1"],
    ["xadddw [%r1+0], %r2", "lock add [%r1], %r2"],
    ["stxxaddw [r1], r2", "lock add32 [%r1], %r2"],
    ["lock fetch xchg [%r1], %r2", "lock xchg [%r1], %r2"],
    ["jal 5", "ja32 +5"],
    ["may_goto +2", "jcond +2"],
    ["nop", "ja +0"],
    ["ldindw %r2", "ldindw %r2, 0"],
    ["lddw %r1, 5 ll", "lddw %r1, 5"],
  ];
  for (const [theirs, ours] of same) {
    assert.is(hex(theirs, { style: "mnemonic" }), hex(ours, { style: "mnemonic" }), theirs);
  }
  assert.is(hex("nop"), "0500000000000000");
});

test("the style is found however late the first statement comes", () => {
  const lines = "# a long introduction\n".repeat(400);
  const block = `/*\n${"r1 = 5\n".repeat(1000)}*/\n`;
  for (const before of [lines, block, "exit\n".repeat(2000)]) {
    assert.is(assembleFile(`${before}mov %r1, 5\nexit`).style, "mnemonic");
    assert.is(assembleFile(`${before}r1 = 5\nexit`).style, "llvm");
  }
});

test.run();
