import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, decode, encode, operation } from "../../src/asm/index.ts";
import { fromHex, toHex } from "../../src/bytes/index.ts";
import { requires, toolPath } from "../support/harness.ts";
import { SPELLINGS } from "./text-table.ts";

const test = suite("asm text against GNU binutils");
// Before 2.42 there is no -mdialect, and no fourth version of the instruction set.
const withBinutils = requires(test, "tool:bpf-as>=2.42", "tool:bpf-objdump>=2.42", "tool:bpf-objcopy>=2.42");

const folder = mkdtempSync(join(tmpdir(), "rawbpf-gnu-"));
test.after(() => rmSync(folder, { recursive: true }));

type Dialect = "normal" | "pseudoc";

function tool(name: string, ...args: readonly string[]): string {
  return execFileSync(toolPath(name)!, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** The lines that GNU as refuses. */
function refused(text: string, dialect: Dialect): Set<number> {
  try {
    gnuAssemble(text, dialect);
    return new Set();
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    const lines = [...(stderr ?? "").matchAll(/in\.s:(\d+): Error/g)].map((match) => Number(match[1]) - 1);
    if (lines.length === 0) throw error;
    return new Set(lines);
  }
}

function gnuAssemble(text: string, dialect: Dialect): Uint8Array {
  writeFileSync(join(folder, "in.s"), `${text}\n`);
  tool("bpf-as", "-EL", `-mdialect=${dialect}`, "-misa-spec=v4", "in.s", "-o", "out.o");
  tool("bpf-objcopy", "-O", "binary", "-j", ".text", "out.o", "out.bin");
  return new Uint8Array(readFileSync(join(folder, "out.bin")));
}

/** Text of each piece of code, given as hex digits. */
function gnuPrint(code: readonly string[], dialect: Dialect): string[] {
  gnuAssemble(code.map((hex) => `.byte ${[...fromHex(hex)].join(", ")}`).join("\n"), dialect);
  const options = dialect === "normal" ? "v4" : "pseudoc,v4";
  const lines = new Map(
    [
      ...tool("bpf-objdump", "-d", "-M", options, "--no-show-raw-insn", "out.o").matchAll(/^ *([0-9a-f]+):\t(.*)$/gm),
    ].map(([, at, line]) => [Number.parseInt(at!, 16), line!.trim()]),
  );
  let at = 0;
  return code.map((hex) => {
    const line = lines.get(at)!;
    at += hex.length / 2;
    return line;
  });
}

/** What GNU has no text for, or prints without some of it. */
function isBeyondGnu(hex: string): boolean {
  const op = operation(decode(fromHex(hex))[0]!);
  switch (op.kind) {
    case "call-local":
    case "call-kfunc":
    case "mov-percpu":
    case "addr-space-cast":
    case "load-acquire":
    case "store-release":
    case "gotox":
      return true;
    case "callx":
      return op.field === "imm";
    case "ld-imm64":
      return op.pseudo !== "immediate";
    default:
      return false;
  }
}

/** Spellings of GNU that are not those we print. */
const ONLY_GNU = `
endle %r1, 16
endle %r1, 32
endle %r1, 64
endbe %r3, 16
endbe %r3, 32
endbe %r3, 64
bswap %r1, 16
bswap %r1, 32
bswap %r1, 64
movs %r1, %r2, 8
movs %r1, %r2, 16
movs %r1, %r2, 32
movs32 %r1, %r2, 8
movs32 %r1, %r2, 16
aadd [%r1+8], %r2
aadd32 [%r1+8], %r2
aor [%r1+8], %r2
aor32 [%r1-8], %r2
aand [%r1+8], %r2
aand32 [%r1+8], %r2
axor [%r1+8], %r2
axor32 [%r1+8], %r2
afadd [%r1+8], %r2
afadd32 [%r1+8], %r2
afor [%r1+8], %r2
afor32 [%r1+8], %r2
afand [%r1+8], %r2
afand32 [%r1+8], %r2
afxor [%r1+8], %r2
afxor32 [%r1+8], %r2
axchg [%r1+8], %r2
axchg32 [%r1+8], %r2
acmp [%r1+8], %r2
acmp32 [%r1+8], %r2
xadddw [%r1+8], %r2
xaddw [%r1+8], %r2
jal 100000
ja 3
jcond 3
call %r1
lddw %r1, 0x1122334455667788
lddw %r1, -1
mov %fp, 1
ldxdw %r1, [%fp-8]
ldabsw 12
ldabsh 12
ldabsb 12
ldindw %r2, 12
ldindh %r2, 12
ldindb %r2, 12
neg32 %r1
exit
`
  .trim()
  .split("\n");

/** Compares line by line what both make of it. @returns how many agree, how many GNU refuses */
function compare(lines: readonly string[], dialect: Dialect, style: "mnemonic" | "llvm" | "kernel"): [number, number] {
  const bad = refused(lines.join("\n"), dialect);
  const good = lines.filter((_, i) => !bad.has(i));
  const theirs = gnuAssemble(good.join("\n"), dialect);
  const ours = good.map((line) => toHex(encode(assemble(line, { style }))));
  let at = 0;
  for (const [i, line] of good.entries()) {
    const size = ours[i]!.length / 2;
    assert.is(ours[i], toHex(theirs.subarray(at, at + size)), line);
    at += size;
  }
  assert.is(at, theirs.length);
  return [good.length, bad.size];
}

withBinutils("mnemonics mean what they mean to bpf-as", () => {
  const [only, refusedOnly] = compare(ONLY_GNU, "normal", "mnemonic");
  assert.is(refusedOnly, 0, "a spelling that GNU does not know");
  // A name behind `call` is a symbol to GNU, whatever the word.
  const ours = SPELLINGS.map(({ mnemonic }) => mnemonic).filter((line) => !/^call (local|kfunc)/.test(line));
  const [agree, unknown] = compare(ours, "normal", "mnemonic");
  console.log(
    `NOTE bpf-as agrees on ${only} spellings of its own and ${agree} of ours; ${unknown} of ours are unknown to it`,
  );
  assert.ok(agree > 140);
});

withBinutils("the C-like styles mean what they mean to bpf-as", () => {
  for (const style of ["llvm", "kernel"] as const) {
    const lines = SPELLINGS.map((row) => row[style]).filter(
      (line) =>
        // Calls of places and names are symbols to GNU.
        !/^call (pc|kfunc|\w+#)/.test(line) &&
        // Its gotol with a number writes the 16 bits of goto.
        !line.startsWith("gotol") &&
        // Of "pc+3" it makes an expression with a symbol.
        !/goto pc/.test(line) &&
        // What the kernel prints for an ld_imm64 is a mov to it.
        !/^r\d+ = 0x/.test(line),
    );
    const [agree, unknown] = compare(lines, "pseudoc", style);
    console.log(
      `NOTE bpf-as -mdialect=pseudoc agrees on ${agree} lines in ${style} style; ${unknown} are unknown to it`,
    );
    assert.ok(agree > 100);
  }
});

test("a signed operator may follow a register without a space", () => {
  for (const [line, hex] of [
    ["if r1s>5 goto 3", "6501030005000000"],
    ["if w10s<=w2 goto -3", "de2afdff00000000"],
    ["r1s/=5", "3701010005000000"],
    ["w10s%=w2", "9c2a010000000000"],
    ["r1s>>=5", "c701000005000000"],
  ] as const) {
    assert.is(toHex(encode(assemble(line))), hex, line);
    assert.is(toHex(encode(assemble(line, { style: "kernel" }))), hex, line);
  }
  assert.throws(() => assemble("if r11s>5 goto 3"), /Register "r11" does not exist/);
  assert.throws(() => assemble("if r1sx>5 goto 3"), /Expected a register, found "r1sx"/);
  assert.equal(assemble(".equ r1s, 8\nr2 = r1s/2")[0]!.imm, 4);
});

withBinutils("what bpf-objdump prints is read back as the same bytes", () => {
  const code = SPELLINGS.map(({ hex }) => hex).filter((hex) => !isBeyondGnu(hex));
  for (const [dialect, style] of [
    ["normal", "mnemonic"],
    ["pseudoc", "llvm"],
  ] as const) {
    const lines = gnuPrint(code, dialect);
    for (const [i, line] of lines.entries()) assert.is(toHex(encode(assemble(line, { style }))), code[i], line);
    for (const [i, line] of lines.entries()) assert.is(toHex(encode(assemble(line))), code[i], `detected: ${line}`);
    console.log(`NOTE ${lines.length} lines of bpf-objdump, ${dialect}, are read back as the same bytes`);
  }
});

test.run();
