import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  assemble,
  distanceField,
  encode,
  type Instruction,
  LD_IMM64,
  type Operation,
  operation,
  printInstruction,
} from "../../src/asm/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { requires, rounds, toolPath } from "../support/harness.ts";
import { random, randomInstructions } from "../support/instructions.ts";
import { SPELLINGS } from "./text-table.ts";

const test = suite("asm text against LLVM");
// 22 is the first that knows gotox; 19 and older know neither load_acquire nor store_release.
const withLlvm = requires(test, "tool:llvm-mc>=22", "tool:llvm-objdump>=22", "tool:llvm-objcopy>=22");

const folder = mkdtempSync(join(tmpdir(), "rawbpf-llvm-"));
test.after(() => rmSync(folder, { recursive: true }));

function tool(name: string, ...args: readonly string[]): string {
  return execFileSync(toolPath(name)!, args, {
    cwd: folder,
    encoding: "utf8",
    maxBuffer: 2 ** 30,
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function llvmAssemble(text: string): Uint8Array {
  writeFileSync(join(folder, "in.s"), text);
  tool("llvm-mc", "-triple=bpfel", "-mcpu=v4", "-filetype=obj", "in.s", "-o", "out.o");
  tool("llvm-objcopy", "-O", "binary", "-j", ".text", "out.o", "out.bin");
  return readFileSync(join(folder, "out.bin"));
}

function llvmPrint(instructions: readonly Instruction[], ...args: readonly string[]): string[] {
  const lines = instructions.map((insn) => `.byte ${encode([insn]).join(", ")}\n`);
  llvmAssemble(lines.join(""));
  return (
    tool("llvm-objdump", "-d", "--mcpu=v4", "--no-show-raw-insn", ...args, "out.o")
      .split("\n")
      .filter((line) => /^ *\d+:\t/.test(line))
      // Behind a jump it prints where that leads.
      .map((line) => line.replace(/^ *\d+:\t/, "").replace(/ <[^ >]*>$/, ""))
  );
}

/** What LLVM has no text for, or a text that leaves part of the instruction out: see src/asm/print/c-style.ts. */
function isIncomplete(op: Operation): boolean {
  switch (op.kind) {
    case "call-local":
    case "call-kfunc":
    case "mov-percpu":
      return true;
    case "callx":
      return op.field === "imm";
    case "packet-load":
      return op.mode === "ind" && op.imm !== 0;
    case "ld-imm64":
      return op.pseudo !== "immediate" && op.high !== 0;
    default:
      return false;
  }
}

function some(count: number): Instruction[] {
  return randomInstructions(random(74207281), count);
}

withLlvm("each instruction is printed as llvm-objdump prints it", () => {
  const all = some(rounds(4_000, 50_000));
  for (const hex of [false, true]) {
    const theirs = llvmPrint(all, ...(hex ? [] : ["--no-print-imm-hex"]));
    assert.is(theirs.length, all.length);
    let same = 0;
    all.forEach((insn, i) => {
      if (isIncomplete(operation(insn))) return;
      assert.is(printInstruction(insn, { hex }), theirs[i], toHex(encode([insn])));
      same++;
    });
    console.log(
      `\nNOTE llvm-objdump agrees on ${same} of ${same} instructions${hex ? " with hexadecimal numbers" : ""}`,
    );
  }
});

withLlvm("what llvm-objdump prints is read back", () => {
  const complete = some(rounds(2_000, 20_000)).filter((insn) => !isIncomplete(operation(insn)));
  // Those left out have brought others nearer to one another.
  const all = complete.map((insn) => {
    const field = insn.opcode === LD_IMM64 ? "none" : distanceField(insn);
    return field === "none" ? insn : { ...insn, [field]: -1 };
  });
  const theirs = llvmPrint(all);
  const back = encode(assemble(theirs.join("\n"), { style: "llvm" }));
  assert.is(toHex(back), toHex(encode(all)));
  // And its whole output, with numbers, bytes, places and the name of the function.
  const output = tool("llvm-objdump", "-d", "--mcpu=v4", "out.o");
  const body = output.slice(output.indexOf("\n0000") + 1);
  assert.is(toHex(encode(assemble(body))), toHex(encode(all)));
});

withLlvm("llvm-mc assembles what is printed to the same bytes", () => {
  const all = some(rounds(4_000, 50_000)).filter((insn) => {
    const op = operation(insn);
    // Its reader takes 16 bits only, though its printer prints 32.
    if (op.kind === "gotol" && (op.offset << 16) >> 16 !== op.offset) return false;
    return !isIncomplete(op);
  });
  const theirs = llvmAssemble(`${all.map((insn) => printInstruction(insn)).join("\n")}\n`);
  assert.is(toHex(theirs), toHex(encode(all)));
  console.log(`\nNOTE llvm-mc agrees on ${all.length} of ${all.length}`);
});

withLlvm("the table is LLVM's", () => {
  const rows = SPELLINGS.filter(({ llvm }) => {
    return !/^call (pc|kfunc)|^callx \d|skb\[r\d \+|^ld_pseudo.*,.*,.*,|__percpu|^gotol \+100000/.test(llvm);
  });
  const theirs = llvmAssemble(`${rows.map(({ llvm }) => llvm).join("\n")}\n`);
  assert.is(toHex(theirs), rows.map(({ hex }) => hex).join(""));
});

/** Texts as people and compilers write them, which mean the same to both. */
const PROGRAMS: readonly string[] = [
  `
  .text
  .globl main                       # -- Begin function
  .p2align 3
  .type main,@function
main:                               # @main
# %bb.0:
  r6 = r1
  *(u32 *)(r10 - 4) = 0 ; r2 = r10; r2 += -4
  if r6 == 0 goto LBB0_2   // comment
  goto LBB0_1
LBB0_1: /* a
  comment over lines */ r0 = 1
  exit
LBB0_2:
  w0 = 0
1:
  r0 += 1
  if r0 s< 10 goto 1b
  if w0 != 7 goto 1f
  r0 <<= 2
1:
  exit
.Lfunc_end0:
  .size main, .Lfunc_end0-main
  .addrsig
`,
  `
  r1 = 010
  r1 = 0x10
  r1 = 0b101
  r1 = 'a'
  r1 = 1 + 2 * 3
  r1 = 1 << 4
  r1 += 0xffffffff
  r1 = -0x80000000
  w1 = 0xffffffff
  if w1 < 0xffffffff goto -1
  r1 = 18446744073709551615 ll
  r1 = -9223372036854775808 ll
  r1 = *(u64*)(r6+8)
  r1=*(u64*)(r6 +8)
  r1 = *(u64 *)(r6 + 4*2)
  r1 = *(u8 *)(r6 + 8)
  *(u32 *)(r1 + 0) = r2
  *(u8 *)(r1 + 0) = 300
  r1 = - r1
  r1 = (s8) r2
  goto 3
  goto + 3
  may_goto 3
  gotol 3
  if r1 == 5 goto 3
  lock *(u32 *)(r1+0) += r2
  exit;
`,
];

withLlvm("programs as people write them mean the same to llvm-mc", () => {
  for (const text of PROGRAMS) assert.is(toHex(encode(assemble(text))), toHex(llvmAssemble(text)), text);
});

test.run();
