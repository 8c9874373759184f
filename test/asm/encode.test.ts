import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type AsmError,
  encode,
  exit,
  type Instruction,
  instruction,
  ja,
  ldMap,
  mov,
  r0,
  r1,
  withMeta,
} from "../../src/asm/index.ts";
import { refusal } from "./refusal.ts";

const test = suite("asm encode");

/** What encoding an instruction behind another says. */
function refused(insn: Instruction): AsmError {
  return refusal(() => encode([exit(), insn]));
}

// [opcode, dst, src, offset, imm, high, message]
const REFUSED: readonly (readonly [number, number, number, number, number, number, string])[] = [
  [256, 0, 0, 0, 0, 0, "Opcode 256 does not fit (0 to 255) (instruction 1)"],
  [-1, 0, 0, 0, 0, 0, "Opcode -1 does not fit (0 to 255) (instruction 1)"],
  [0xb7, 16, 0, 0, 0, 0, "Destination register 16 does not fit (0 to 15) (instruction 1)"],
  [0xb7, 0, -1, 0, 0, 0, "Source register -1 does not fit (0 to 15) (instruction 1)"],
  [0x05, 0, 0, 32768, 0, 0, "Offset 32768 does not fit (-32768 to 32767) (instruction 1)"],
  [0x05, 0, 0, -32769, 0, 0, "Offset -32769 does not fit (-32768 to 32767) (instruction 1)"],
  [0x05, 0, 0, 0.5, 0, 0, "Offset 0.5 does not fit (-32768 to 32767) (instruction 1)"],
  [0xb7, 0, 0, 0, 2147483648, 0, "Immediate 2147483648 does not fit (-2147483648 to 2147483647) (instruction 1)"],
  [0xb7, 0, 0, 0, -2147483649, 0, "Immediate -2147483649 does not fit (-2147483648 to 2147483647) (instruction 1)"],
  [0xb7, 0, 0, 0, Number.NaN, 0, "Immediate NaN does not fit (-2147483648 to 2147483647) (instruction 1)"],
  [0x18, 0, 0, 0, 0, 4294967295, "High half 4294967295 does not fit (-2147483648 to 2147483647) (instruction 1)"],
  [0xb7, 0, 0, 0, 0, 1, "High half 1 belongs to ld_imm64 only (instruction 1)"],
];

test("no field wraps", () => {
  for (const [opcode, dst, src, offset, imm, high, message] of REFUSED) {
    const error = refused(instruction(opcode, dst, src, offset, imm, high));
    assert.is(error.message, message);
    assert.is(error.code, "ERR_ASM_RANGE");
    assert.is(error.instruction, 1);
  }
});

test("the extremes of every field fit", () => {
  const bytes = encode([
    instruction(0xff, 15, 15, -32768, -2147483648),
    instruction(0x18, 0, 0, 32767, 2147483647, -1),
  ]);
  assert.equal([...bytes.subarray(0, 8)], [0xff, 0xff, 0, 0x80, 0, 0, 0, 0x80]);
  assert.equal([...bytes.subarray(8)], [0x18, 0, 0xff, 0x7f, 255, 255, 255, 127, 0, 0, 0, 0, 255, 255, 255, 255]);
});

test("a symbol that was not resolved is refused", () => {
  const error = refused(ja("out"));
  assert.is(error.message, 'Symbol "out" is not resolved (instruction 1)\nHint: Call link() before encode()');
  assert.is(error.code, "ERR_ASM_UNRESOLVED");
});

test("a map whose descriptor was not filled in is refused", () => {
  const error = refused(ldMap(r1, { fd: 7, name: "counts" }));
  assert.is(
    error.message,
    'Descriptor of map "counts" is 7, the instruction has 0 (instruction 1)\nHint: Call link() before encode()',
  );
  const unnamed = refused(ldMap(r1, { fd: 8 }));
  assert.match(unnamed.message, /^Descriptor of the map is 8, the instruction has 0 \(instruction 1\)/);
});

test("a second slot that does not fit is refused", () => {
  const slot = { opcode: 256, registers: 0, offset: 0 };
  const error = refused(withMeta(instruction(0x18), { secondSlot: slot }));
  assert.is(error.message, "Second slot of ld_imm64 does not fit its fields (instruction 1)");
});

test("labels, source lines and relocations do not matter", () => {
  const meta = {
    labels: ["start"],
    source: { file: "a.c", line: 1, column: 1, text: "" },
    relocation: { kind: "core" },
  };
  assert.equal(encode([withMeta(mov(r0, 0), meta)]), encode([mov(r0, 0)]));
});

test("no instructions give no bytes", () => {
  assert.is(encode([]).length, 0);
});

test.run();
