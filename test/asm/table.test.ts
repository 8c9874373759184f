import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decode, encode, instruction, operation } from "../../src/asm/index.ts";
import { fromHex, toHex } from "../../src/bytes/index.ts";
import { requires, toolPath } from "../support/harness.ts";
import { ENCODINGS } from "./table.ts";

const test = suite("asm table");

test("the builder makes the bytes of every encoding", () => {
  for (const { hex, instruction } of ENCODINGS) assert.is(toHex(encode([instruction])), hex);
});

test("the decoder reads every encoding back, strict and lenient", () => {
  for (const { hex, instruction } of ENCODINGS) {
    assert.equal(decode(fromHex(hex)), [instruction], hex);
    assert.equal(decode(fromHex(hex), { strict: false }), [instruction], hex);
  }
});

test("big-endian bytes swap registers, offset and immediate", () => {
  for (const { hex, instruction } of ENCODINGS) {
    const big = swapOrder(hex);
    assert.is(toHex(encode([instruction], { littleEndian: false })), big);
    assert.equal(decode(fromHex(big), { littleEndian: false }), [instruction], big);
  }
});

/** What a big-endian machine stores: the register nibbles, the offset and the immediate of every slot turned round. */
function swapOrder(hex: string): string {
  return hex.replace(/(..)(.)(.)(..)(..)(..)(..)(..)(..)/g, "$1$3$2$5$4$9$8$7$6");
}

test("operation() tells what every encoding does", () => {
  for (const { hex, instruction, operation: expected } of ENCODINGS)
    assert.equal(operation(instruction), expected, hex);
});

test("every opcode byte is an instruction or is refused", () => {
  const known = new Set(ENCODINGS.map(({ hex }) => Number.parseInt(hex.slice(0, 2), 16)));
  for (let opcode = 0; opcode < 256; opcode++) {
    const found = operation(instruction(opcode));
    const unknown = found.kind === "invalid" && found.reason.startsWith("Unknown opcode");
    assert.is(unknown, !known.has(opcode), `0x${opcode.toString(16)}`);
    if (!unknown) continue;
    assert.is(found.reason, `Unknown opcode 0x${opcode.toString(16).padStart(2, "0")}`);
    assert.throws(() => decode(Uint8Array.of(opcode, 0, 0, 0, 0, 0, 0, 0)), /^Unknown opcode/);
  }
  assert.is(known.size, OPCODES);
});

/** Arithmetic, neg, mov, swaps, loads, stores, atomics, packet loads, conditions, other jumps and calls, ld_imm64. */
const OPCODES = 11 * 4 + 2 + 4 + 3 + 7 + 8 + 4 + 6 + 11 * 4 + 7 + 1;

requires(test, "tool:llvm-mc>=22")("LLVM assembles the same bytes", () => {
  const rows = ENCODINGS.filter(({ llvm }) => llvm !== undefined);
  const directory = mkdtempSync(join(tmpdir(), "rawbpf-"));
  try {
    const source = join(directory, "table.s");
    const object = join(directory, "table.bin");
    writeFileSync(source, rows.map(({ llvm }) => `${llvm}\n`).join(""));
    const run = spawnSync(
      toolPath("llvm-mc")!,
      ["-triple=bpfel", "-mcpu=v4", "-mattr=+allows-misaligned-mem-access", "-filetype=obj", source, "-o", object],
      { encoding: "utf8" },
    );
    assert.is(run.status, 0, run.stderr);
    const elf = readFileSync(object);
    const text = elf.subarray(elf.indexOf(Buffer.from(rows[0]!.hex, "hex")));
    let at = 0;
    for (const { hex, llvm } of rows) {
      assert.is(toHex(text.subarray(at, at + hex.length / 2)), hex, llvm);
      at += hex.length / 2;
    }
    console.log(
      `\nNOTE ${rows.length} of ${ENCODINGS.length} encodings agree with llvm-mc, which has no text for the others`,
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test.run();
