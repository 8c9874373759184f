import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AsmError, type AssembleOptions, assemble } from "../../src/asm/index.ts";
import { refusal } from "./refusal.ts";

const test = suite("asm text errors");

/** Each problem as `line:column+length message {hint}`. */
function problems(text: string, options?: AssembleOptions): string {
  return refusal(() => assemble(text, options))
    .problems.map(
      ({ line, column, length, message, hint }) =>
        `${line}:${column}+${length} ${message}${hint === undefined ? "" : ` {${hint}}`}`,
    )
    .join(" | ");
}

// In the C-like styles.
const REFUSED: readonly (readonly [text: string, problem: string])[] = [
  ["rmov 1", '1:1+4 Unknown instruction "rmov" {Did you mean "mov"?}'],
  ["exit; exti", '1:7+4 Unknown instruction "exti" {Did you mean "exit"?}'],
  ["gto +1", '1:1+3 Unknown instruction "gto" {Did you mean "goto"?}'],
  ["R0 = 1", '1:1+2 Unknown instruction "R0" {Registers are written in lower case}'],
  ["r0 = 0 ; zero", '1:10+4 Unknown instruction "zero" {";" separates statements; a comment begins with "#" or "//"}'],
  ["r0 = 0\nmov %r1, 1", '2:1+3 Unknown instruction "mov" {"mov" is of the mnemonic style, and a file has one style}'],
  ["€", '1:1+1 Unknown instruction "€"'],
  ["=", '1:1+1 Expected a statement, found "="'],
  ["5", '1:1+1 Expected a statement, found "5"'],
  ["\u00a0exit", '1:1+1 Expected a statement, found "\u00a0"'],
  ["r0 = ", "1:6+1 Expected a number, found the end of the statement"],
  ["r0 = 5 5", '1:8+1 Unexpected "5" after the statement'],
  ["r0 = 1 $x", '1:8+2 Unexpected "$x" after the statement'],
  ["exit 0", '1:6+1 Unexpected "0" after the statement'],
  ["r0 5", '1:4+1 Expected "=" or an operator such as "+=", found "5"'],
  ["r11 = 0", '1:1+3 Register "r11" does not exist {Registers are r0 to r10}'],
  ["r0 = r11", '1:6+3 Register "r11" does not exist {Registers are r0 to r10}'],
  ["w99 = 1", '1:1+3 Register "w99" does not exist {Registers are w0 to w10}'],
  ["r00 = 1", '1:1+3 Register "r00" does not exist {Registers are r0 to r10}'],
  ["r1 = *(u64 *)(r123 + 0)", '1:15+4 Register "r123" does not exist {Registers are r0 to r10}'],
  ["w0 = r1", "1:6+2 Registers differ in width: w0 and r1 {Write w1}"],
  ["r0 += w1", "1:7+2 Registers differ in width: r0 and w1 {Write r1}"],
  ["if r1 == w2 goto +1", "1:10+2 Registers differ in width: r1 and w2 {Write r2}"],
  [
    "r0 += 4294967295",
    "1:7+10 Immediate 4294967295 does not fit 32 signed bits (-2147483648 to 2147483647) {Write 0xffffffff if the pattern of bits is meant}",
  ],
  ["r0 += 0x1ffffffff", "1:7+11 Immediate 8589934591 does not fit 32 signed bits (-2147483648 to 2147483647)"],
  ["r0 += -2147483649", "1:7+11 Immediate -2147483649 does not fit 32 signed bits (-2147483648 to 2147483647)"],
  ["w0 = 4294967296", "1:6+10 Immediate 4294967296 does not fit 32 bits (-2147483648 to 4294967295)"],
  ["if w0 == 1 << 40 goto +1", "1:10+7 Immediate 1099511627776 does not fit 32 bits (-2147483648 to 4294967295)"],
  [
    "*(u64 *)(r1 + 0) = 0xfffffffff",
    "1:20+11 Immediate 68719476735 does not fit 32 signed bits (-2147483648 to 2147483647)",
  ],
  ["r0 = 18446744073709551616", "1:6+20 Number 18446744073709551616 does not fit 64 bits"],
  ["r0 = 0x1ffffffffffffffff", "1:6+19 Number 0x1ffffffffffffffff does not fit 64 bits"],
  ["r0 = -9223372036854775809", "1:6+20 Value -9223372036854775809 does not fit 64 bits"],
  ["r0 = 08", '1:6+2 "08" is no number {A leading 0 makes a number octal}'],
  ["r0 = 0xzz", '1:6+4 "0xzz" is no number'],
  ["r0 = 1 / 0", "1:8+3 Division by zero"],
  ["r0 = 1 << 64", "1:8+5 Shift by 64 (0 to 63)"],
  ["r0 = (1", '1:8+1 Expected ")" at the end of the expression, found the end of the statement'],
  ["r0 = 'a", "1:6+1 Character in quotes has no end"],
  ['r0 = "a', "1:6+2 String has no end"],
  ["exit /* x", '1:6+2 Comment has no end "*/"'],
  ["r0 = COUNT", '1:6+5 Unknown constant "COUNT" {The address of a symbol ends in ll}'],
  ["COUNT = 5\nr0 = CUONT", '2:6+5 Unknown constant "CUONT" {Did you mean "COUNT"?}'],
  ["f: r0 = f", '1:9+1 Unknown constant "f" {The address of "f" is "f ll"}'],
  ["r0 = be17 r0", '1:6+4 Unknown operation "be17" {Did you mean "be16"?}'],
  ["r0 = atomic_fetch_sub(", '1:6+16 Unknown operation "atomic_fetch_sub" {Did you mean "atomic_fetch_add"?}'],
  ["r0 = -r1", "1:7+2 Expected r0, the register assigned to, found r1"],
  ["r0 = be16 r1", "1:11+2 Expected r0, the register assigned to, found r1"],
  ["w0 = be16 w0", "1:11+2 The 32-bit register w0 cannot hold 64 bits {Write r0}"],
  ["w0 = 5 ll", "1:6+4 The 32-bit register w0 cannot hold 64 bits {Write r0}"],
  ["w1 = *(u64 *)(r2 + 0)", "1:6+16 The 32-bit register w1 cannot hold 64 bits {Write r1}"],
  ["*(u64 *)(r1 + 0) = w2", "1:20+2 The 32-bit register w2 cannot hold 64 bits {Write r2}"],
  ["r0 = (s8)w1", "1:10+2 Registers differ in width: r0 and w1 {Write r1}"],
  ["w0 = (s32)w1", '1:7+3 Expected s8 or s16, found "s32"'],
  ["r0 = (s24)r1", '1:7+3 Expected s8, s16 or s32, found "s24"'],
  ["r1 = *(u64 *)r2", '1:14+2 Expected an address such as "(r6 + 8)", found "r2"'],
  ["r1 = *(u65 *)(r2 + 0)", '1:8+3 Expected a type: u8, u16, u32, u64, s8, s16 or s32, found "u65"'],
  ["r1 = *(u64)(r2 + 0)", '1:11+1 Expected "*" behind the type, found ")"'],
  ["r1 = *(u64 *)(r2 + 40000)", "1:18+7 Offset 40000 does not fit 16 bits (-32768 to 32767)"],
  ["r1 = *(u64 *)(w2 + 0)", "1:15+2 Expected a register, found the 32-bit register w2 {Write r2}"],
  ["r1 = *(u64 *)(r2 + 0", '1:21+1 Expected ")" behind the address, found the end of the statement'],
  ["r1 = *(s64 *)(r2 + 0)", "1:6+16 A load of s64 extends nothing {Write u64}"],
  ["r1 = *(u32 *)skb[4]", "1:14+3 A packet load goes to r0 only"],
  ["r0 = *(u64 *)skb[4]", "1:14+3 A packet load has type u8, u16 or u32"],
  ["*(s8 *)(r1 + 0) = 1", "1:1+7 A store has an unsigned type"],
  ["*(u64 *)(r1 + 0) += r2", '1:18+2 Expected "=" {An atomic operation begins with "lock"}'],
  ["lock *(u8 *)(r1 + 0) += r2", "1:7+6 An atomic operation has type u32 or u64"],
  ["lock *(u64 *)(r1 + 0) -= r2", '1:23+1 Expected "+=", "|=", "&=" or "^=", found "-"'],
  ["lock *(u64 *)(r1 + 0) += 5", '1:26+1 Expected a register, found "5"'],
  ["r1 = atomic_fetch_add((u64 *)(r1 + 0), r2)", "1:40+2 Expected r1, the register assigned to, found r2"],
  ["r1 = cmpxchg_64(r1 + 0, r0, r1)", "1:1+22 The old value goes to r0, not r1"],
  ["r0 = cmpxchg_64(r1 + 0, r1, r1)", "1:25+2 The value compared with is r0, not r1"],
  ["r1 = xchg_64(r1 + 0 r1)", '1:21+2 Expected "," before the register, found "r1"'],
  ["r1 = atomic64_xchg((u32 *)(r1 +0), r1)", "1:20+7 This operation has type u64"],
  ["r1 = load_acquire((s32 *)(r2 + 0))", "1:1+25 This operation has an unsigned type"],
  ["r0 = addr_space_cast(r1, 65536, 0)", "1:26+5 An address space is a number from 0 to 65535"],
  ["ld_pseudo r1, 16, 1", "1:15+2 A pseudo source is a number from 0 to 15"],
  ["r1 = map[id:5]", '1:10+3 Expected fd: or idx:, found "id:" {A program refers to maps by descriptor: map[fd:N]}'],
  ["r1 = map[fd:5][1]", "1:16+1 Only the value at index 0 has an address"],
  ["if r1 = 5 goto +1", '1:7+1 Expected a comparison: ==, !=, >, >=, <, <=, s>, s>=, s<, s<= or &, found "="'],
  ["if r1 == 5", '1:11+1 Expected "goto", found the end of the statement'],
  ["if r1 == 5 then +1", '1:12+4 Expected "goto", found "then"'],
  ["if 5 == r1 goto +1", '1:4+1 Expected a register, found "5"'],
  ["goto", "1:5+1 Expected a label or a distance such as +3, found the end of the statement"],
  ["goto +40000", "1:6+6 Jump distance 40000 does not fit 16 bits (-32768 to 32767)"],
  ["gotol +2147483648", "1:7+11 Jump distance +2147483648 does not fit 32 signed bits"],
  ["goto nowhere", '1:6+7 Unknown label "nowhere"'],
  ["goto nowhere\nnowhre: exit", '1:6+7 Unknown label "nowhere" {Did you mean "nowhre"?}'],
  ["goto 1f", '1:6+2 Label "1f" is not defined further down'],
  ["1: exit\ngoto 2b", '2:6+2 Label "2b" is not defined further up'],
  ["goto a\na:", '1:6+1 Label "a" has no instruction behind it'],
  ["a: goto a\na: exit", '2:1+1 Label "a" is already defined in line 1'],
  ["A = 1\nA: exit", '2:1+1 "A" is already defined as a constant'],
  ["A: exit\nA = 1", '2:1+1 "A" is already defined as a label'],
  ["r1: exit", '1:1+2 A label cannot have the name of a register, "r1" {Put the label in quotes}'],
  ["r1 = f + 4 ll\nf: exit", '1:6+1 The address of function "f" cannot have a number added to it'],
  ["goto x\n.data\nx: .byte 1", '1:6+1 "x" is data, not code'],
  ["goto x\n.section a\nx: exit", '1:6+1 Label "x" is in another section, "a"'],
  ["goto +1\nr0 = 1 ll\nexit", "1:1+7 Jump to slot 2 lands in the second half of an ld_imm64"],
  ["r0 = 1 ll\nif r0 == 1 goto -2\nexit", "2:1+18 Jump to slot 1 lands in the second half of an ld_imm64"],
  ["call", "1:5+1 Expected a helper or a function, found the end of the statement"],
  ["call foo", '1:6+3 Unknown function or helper "foo"'],
  ["call map_lokup_elem", '1:6+14 Unknown function or helper "map_lokup_elem" {Did you mean "map_lookup_elem"?}'],
  ["call fonction\nfunction: exit", '1:6+8 Unknown function or helper "fonction" {Did you mean "function"?}'],
  ["call local nowhere", '1:12+7 Unknown function "nowhere"'],
  ["r1 = subprog[nowhere]", '1:14+7 Unknown function "nowhere"'],
  ["call bpf_map_lookup_elem#2", "1:26+1 Helper bpf_map_lookup_elem has number 1, not 2"],
  ["call bpf_map_lokup_elem#1", '1:6+20 Unknown helper "bpf_map_lokup_elem" {Did you mean "map_lookup_elem"?}'],
  ["call +3", '1:6+1 Expected a helper or a function, found "+" {A function so many slots away is "call pc+3"}'],
  ["callx w1", "1:7+2 Expected a register, found the 32-bit register w1 {Write r1}"],
  ["callx 11", "1:7+2 The number of a register in the immediate is 1 to 10"],
  [".foo", '1:1+4 Unknown directive ".foo"'],
  [".sectoin x", '1:1+8 Unknown directive ".sectoin" {Did you mean ".section"?}'],
  [".equ A", '1:7+1 Expected "," behind the name, found the end of the statement'],
  [".equ A, 1\n.equ A, 2", '2:6+1 Constant "A" is already defined as 1'],
  [".data\nr0 = 0", '2:1+6 Instruction in data section ".data"'],
  [".byte 256", "1:7+3 Value 256 does not fit a byte"],
  [".byte 1, 2", "1:1+10 Raw bytes do not fill a slot of 8 bytes (2)"],
  [".byte 1\nexit", "2:1+4 Raw bytes before this instruction do not fill a slot of 8 bytes (1)"],
  [".quad a", "1:7+1 Raw code cannot refer to a symbol"],
  [".data\n.zero 99999999999", "2:7+11 Number of bytes must be 0 to 67108864"],
  [".align 3", "1:8+1 Alignment must be a power of two up to 65536"],
  [".popsection", "1:1+11 No section was pushed"],
  [".data\na: .long a-b", '2:10+1 Unknown label "b"'],
  [".insert 0", '1:1+7 Unknown directive ".insert"'],
];

test("each fault of the C-like styles is named, with its place", () => {
  for (const [text, problem] of REFUSED) assert.is(problems(text), problem, text);
});

const REFUSED_MNEMONICS: readonly (readonly [text: string, problem: string])[] = [
  ["mvo %r0, 1\nexit", '1:1+3 Unknown instruction "mvo" {Did you mean "mov"?}'],
  ["mov %r0, 1\nr1 = 5", '2:1+2 Unknown instruction "r1" {This file is in mnemonic style, and a file has one style}'],
  [
    "mov %r0, 1\nif r1 == 5 goto +1",
    '2:1+2 Unknown instruction "if" {This file is in mnemonic style, and a file has one style}',
  ],
  ["mov %r11, 1", '1:5+4 Register "%r11" does not exist {Registers are %r0 to %r10}'],
  ["mov r11, 1", '1:5+3 Register "r11" does not exist {Registers are r0 to r10}'],
  ["mov %rax, 1", '1:5+4 Register "%rax" does not exist {Registers are %r0 to %r10}'],
  ["mov %, 1", '1:5+1 Expected a register, found "%"'],
  ["mov %r1, %", '1:10+1 Expected a register or a number, found "%"'],
  ["mov %r1", '1:8+1 Expected "," behind the register, found the end of the statement'],
  ["mov %r1, ", "1:10+1 Expected a register or a number, found the end of the statement"],
  ["mov %r1, w2", "1:10+2 Expected a 64-bit register, found w2 {Mnemonics say the width themselves: write %r2}"],
  ["mov %r1, 4294967296", "1:10+10 Immediate 4294967296 does not fit 32 signed bits (-2147483648 to 2147483647)"],
  ["mov %r1, 0x100000000", "1:10+11 Immediate 4294967296 does not fit 32 signed bits (-2147483648 to 2147483647)"],
  [
    "mov32 %r1, 2147483648",
    "1:12+10 Immediate 2147483648 does not fit 32 signed bits (-2147483648 to 2147483647) {Write 0x80000000 if the pattern of bits is meant}",
  ],
  ["ldxw %r1, [%r2+32768]", "1:15+6 Offset 32768 does not fit 16 bits (-32768 to 32767)"],
  ["ldxw %r1, %r2", '1:11+1 Expected "[" before the address, found "%"'],
  ["ldxw %r1, [%r2", '1:15+1 Expected "]" behind the address, found the end of the statement'],
  ["stw [%r1], %r2", '1:12+3 Expected a number, found a register {A store of a register begins with "stx"}'],
  ["stxw [%r1], 2", '1:13+1 Expected a register, found a number {A store of a number begins with "st"}'],
  ["jeq %r1, 5", '1:11+1 Expected "," before the target, found the end of the statement'],
  ["jeq %r1, 5, +32768", "1:13+6 Jump distance 32768 does not fit 16 bits (-32768 to 32767)"],
  ["ja nowhere", '1:4+7 Unknown label "nowhere"'],
  ["ja exit", '1:4+4 Unknown label "exit"'],
  ["mov %r0, 0\na: ja a\na: exit", '3:1+1 Label "a" is already defined in line 2'],
  ["lock sub [%r1], %r2", '1:6+3 Unknown atomic operation "sub"'],
  ["lock fetch ad [%r1], %r2", '1:12+2 Unknown atomic operation "ad" {Did you mean "add"?}'],
  ["movs %r1, %r2, 64", "1:16+2 Expected a width of 8, 16, 32 bits"],
  ["movs32 %r1, %r2, 32", "1:18+2 Expected a width of 8, 16 bits"],
  ["endbe %r1, 8", "1:12+1 Expected a width of 16, 32, 64 bits"],
  ["be8 %r1\nmov %r0, 0", '1:1+3 Unknown instruction "be8"'],
  ["mov %r0, 0 %r1", '1:12+1 Unexpected "%" after the statement'],
  ["lddw %r1, 0x10000000000000000", "1:11+19 Number 0x10000000000000000 does not fit 64 bits"],
  ["ja +1\nlddw %r0, 1\nexit", "1:1+5 Jump to slot 2 lands in the second half of an ld_imm64"],
];

test("each fault of the mnemonic style is named, with its place", () => {
  for (const [text, problem] of REFUSED_MNEMONICS) assert.is(problems(text), problem, text);
});

test("registers beyond r10 are read where a test of their refusal wants them", () => {
  const [first, second] = assemble("mov %r11, %r15\nexit", { allowBadRegisters: true });
  assert.equal([first!.dst, first!.src, second!.opcode], [11, 15, 0x95]);
  assert.is(
    problems("mov %r16, 0", { allowBadRegisters: true }),
    '1:5+4 Register "%r16" does not exist {Registers are %r0 to %r10}',
  );
  assert.is(
    problems("r11 = 0", { allowBadRegisters: true }),
    '1:1+3 Register "r11" does not exist {Registers are r0 to r10}',
  );
});

test("all faults of a text are reported, in order, each with its line", () => {
  const error = refusal(() => assemble("  r0 = 1\n\tr1 += r99\nfoo\nr2 = ; bar\n  goto out\r\nexit", { file: "a.s" }));
  assert.is(
    error.message,
    `5 problems
Register "r99" does not exist at a.s:2:8
  \tr1 += r99
  \t      ^~~
Hint: Registers are r0 to r10
Unknown instruction "foo" at a.s:3:1
  foo
  ^~~
Expected a number, found the end of the statement at a.s:4:6
  r2 = ; bar
       ^
Unknown instruction "bar" at a.s:4:8
  r2 = ; bar
         ^~~
Hint: ";" separates statements; a comment begins with "#" or "//"
Unknown label "out" at a.s:5:8
    goto out
         ^~~`,
  );
  assert.is(error.code, "ERR_ASM_OPERAND");
  assert.is(error.line, 2);
  assert.is(error.column, 8);
  assert.is(error.problems[4]!.text, "  goto out");
  assert.is(error.problems[4]!.file, "a.s");
});

test("each kind of fault has its code", () => {
  const codes = {
    "r0 = ": "ERR_ASM_SYNTAX",
    "foo r0": "ERR_ASM_UNKNOWN_MNEMONIC",
    "r0 = r11": "ERR_ASM_OPERAND",
    "goto x": "ERR_ASM_LABEL",
    "r0 += 1 << 40": "ERR_ASM_RANGE",
    ".byte 1": "ERR_ASM_ENCODING",
    "call foo": "ERR_ASM_UNKNOWN_HELPER",
    [`r0 = ${"(".repeat(300)}`]: "ERR_LIMIT",
  };
  for (const [text, code] of Object.entries(codes)) assert.is(refusal(() => assemble(text)).code, code, text);
});

test("wrong arguments are no AsmError", () => {
  assert.throws(
    () => assemble(5 as unknown as string),
    (error: Error) => error instanceof TypeError && error.message === "Text must be a string, not number",
  );
  assert.throws(
    () => assemble("exit", { style: "intel" as "llvm" }),
    (error: Error) => error instanceof RangeError && error.message.startsWith('Unknown style "intel"'),
  );
});

test("a text full of faults is reported in full", () => {
  const error = refusal(() => assemble("frob\n".repeat(100_000)));
  assert.instance(error, AsmError);
  assert.is(error.problems.length, 100_000);
  assert.is(error.problems[99_999]!.line, 100_000);
});

test.run();
