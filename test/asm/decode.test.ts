import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AsmError, decode, encode, type Instruction, instruction, operation, slotsOf } from "../../src/asm/index.ts";
import { fromHex, toHex } from "../../src/bytes/index.ts";
import { rounds } from "../support/harness.ts";
import { refusal } from "./refusal.ts";
import { ENCODINGS } from "./table.ts";

const test = suite("asm decode");

// [bytes, slot, message]
const REFUSED: readonly (readonly [string, number, string])[] = [
  ["b70000000000", 0, "Length 6 is no multiple of 8 bytes (instruction 0)"],
  ["b700000000000000 95", 1, "Length 9 is no multiple of 8 bytes (instruction 1)"],
  ["ff00000000000000", 0, "Unknown opcode 0xff (instruction 0)"],
  ["0000000000000000", 0, "Unknown opcode 0x00 (instruction 0)"],
  ["b700000000000000 9d00000000000000", 1, "Unknown opcode 0x9d (instruction 1)"],
  ["b70b000000000000", 0, "Destination register r11 does not exist (instruction 0)"],
  ["bfb1000000000000", 0, "Source register r11 does not exist (instruction 0)"],
  ["b710000000000000", 0, "Opcode 0xb7 does not use its source field, which must be 0, not 1 (instruction 0)"],
  ["9501000000000000", 0, "Opcode 0x95 does not use its destination field, which must be 0, not 1 (instruction 0)"],
  ["0f21ffff00000000", 0, "Opcode 0x0f does not use its offset field, which must be 0, not -1 (instruction 0)"],
  ["6121000005000000", 0, "Opcode 0x61 does not use its immediate field, which must be 0, not 5 (instruction 0)"],
  ["3701020005000000", 0, "Offset of a division must be 0 (unsigned) or 1 (signed), not 2 (instruction 0)"],
  ["bf21030000000000", 0, "Offset of a 64-bit register move must be 0, 1, 8, 16, 32 or -1, not 3 (instruction 0)"],
  ["bf21080001000000", 0, "Opcode 0xbf does not use its immediate field, which must be 0, not 1 (instruction 0)"],
  ["bc21200000000000", 0, "Offset of a 32-bit register move must be 0, 8 or 16, not 32 (instruction 0)"],
  ["d401000011000000", 0, "Immediate of a byte swap must be 16, 32 or 64, not 17 (instruction 0)"],
  ["db2a000010000000", 0, "Unknown atomic operation 0x10 (instruction 0)"],
  ["d32a000010000000", 0, "Unknown atomic operation 0x10 (instruction 0)"],
  ["cb2a000000000000", 0, "Atomic read-modify-write works on 32 and 64 bits only (instruction 0)"],
  ["8530000000000000", 0, "Unknown kind of call 3 (instruction 0)"],
  ["85c0000000000000", 0, "Unknown kind of call 12 (instruction 0)"],
  ["8510010000000000", 0, "Opcode 0x85 does not use its offset field, which must be 0, not 1 (instruction 0)"],
  ["8d0200000b000000", 0, "Opcode 0x8d does not use its immediate field, which must be 0, not 11 (instruction 0)"],
  ["8d0000000b000000", 0, "Immediate of callx must be a register number, not 11 (instruction 0)"],
  ["e510000000000000", 0, "Unknown kind of conditional jump 1 (instruction 0)"],
  ["1871000000000000 0000000000000000", 0, "Unknown source 7 of ld_imm64 (instruction 0)"],
  ["1811000007000000 0000000001000000", 0, "High half of ld_imm64 with source 1 must be 0, not 1 (instruction 0)"],
  ["1801000001000000", 0, "The ld_imm64 is cut off after its first slot (instruction 0)"],
  [
    "b700000000000000 1801000001000000 9500000000000000",
    1,
    "The second slot of an ld_imm64 must be 0 except for its immediate (found opcode 0x95, registers 0x00, offset 0) (instruction 1)",
  ],
  [
    "1801000001000000 0012ffff00000000",
    0,
    "The second slot of an ld_imm64 must be 0 except for its immediate (found opcode 0x00, registers 0x12, offset -1) (instruction 0)",
  ],
];

test("strict decoding says what is wrong, and in which slot", () => {
  for (const [hex, slot, message] of REFUSED) {
    const error = refusal(() => decode(fromHex(hex)));
    assert.is(error.message, message);
    assert.is(error.code, "ERR_ASM_ENCODING");
    assert.is(error.instruction, slot, hex);
    assert.is(error.problems.length, 1);
  }
});

test("slots are counted, not instructions", () => {
  assert.is(refusal(() => decode(fromHex("18010000010000000000000000000000 ff00000000000000"))).instruction, 2);
});

test("callx with its register in the immediate, as older compilers have it", () => {
  const [insn] = decode(fromHex("8d00000003000000"));
  assert.equal(operation(insn!), { kind: "callx", register: 3, field: "imm" });
});

/** Fields that mean something, told from what the table says an encoding does. */
function used(insn: Instruction): Set<string> {
  const op = operation(insn);
  const fields = new Set<string>();
  if ("dst" in op) fields.add("dst");
  if ("src" in op && op.src !== undefined) fields.add("src");
  if (("src" in op && op.src === undefined && op.kind !== "packet-load") || op.kind === "store-imm") fields.add("imm");
  if ("offset" in op) fields.add(op.kind === "gotol" || op.kind === "call-local" ? "imm" : "offset");
  if (op.kind === "endian" || op.kind === "atomic" || op.kind.endsWith("acquire") || op.kind.endsWith("release")) {
    fields.add("imm");
  }
  if (op.kind === "packet-load" || op.kind.startsWith("call-") || op.kind === "addr-space-cast") fields.add("imm");
  if (op.kind.startsWith("call-") || op.kind === "ld-imm64" || op.kind === "may-goto") fields.add("src");
  if (op.kind === "call-kfunc") fields.add("offset");
  if (op.kind === "ld-imm64") fields.add("imm").add("high");
  if (op.kind === "gotox" || op.kind === "callx") fields.add("dst");
  if ((op.kind === "alu" && /div|mod/.test(op.op)) || /mov|addr-space-cast/.test(op.kind)) fields.add("offset");
  return fields;
}

test("every unused field of every encoding must be zero", () => {
  let checked = 0;
  for (const { instruction: insn, hex } of ENCODINGS) {
    // The offset of a move of an immediate is unused, that of a move of a register is not.
    const fields = used(insn);
    if (hex.startsWith("b7") || hex.startsWith("b4")) fields.delete("offset");
    for (const field of ["dst", "src", "offset", "imm"] as const) {
      if (fields.has(field)) continue;
      for (const value of field === "dst" || field === "src" ? [1, 15] : [1, -1, 0x7fff]) {
        const bad = { ...insn, [field]: value };
        assert.is(refusal(() => decode(encode([bad]))).code, "ERR_ASM_ENCODING", `${hex} ${field}=${value}`);
        assert.equal(decode(encode([bad]), { strict: false }), [bad]);
        checked++;
      }
    }
  }
  assert.ok(checked > 600, `${checked}`);
});

/** Slots as a hostile or broken object file has them: any bits, with the opcode of ld_imm64 far too often. */
const slots: fc.Arbitrary<Uint8Array> = fc
  .array(
    fc.tuple(
      fc.oneof(fc.constant(0x18), fc.constant(0), fc.nat(255)),
      fc.oneof({ weight: 3, arbitrary: fc.constant([0, 0, 0]) }, fc.array(fc.nat(255), { minLength: 3, maxLength: 3 })),
      fc.array(fc.nat(255), { minLength: 4, maxLength: 4 }),
    ),
    { maxLength: 12 },
  )
  .map((list) => Uint8Array.from(list.flatMap(([opcode, middle, imm]) => [opcode, ...middle, ...imm])));

test("lenient decoding loses nothing, in either byte order", () => {
  fc.assert(
    fc.property(slots, fc.boolean(), (bytes, littleEndian) => {
      const instructions = decode(bytes, { strict: false, littleEndian });
      assert.is(toHex(encode(instructions, { littleEndian })), toHex(bytes));
      assert.is(instructions.reduce((sum, insn) => sum + slotsOf(insn), 0) * 8, bytes.length);
    }),
    { numRuns: rounds(1500, 100_000) },
  );
});

test("strict decoding accepts exactly what has an operation", () => {
  fc.assert(
    fc.property(slots, (bytes) => {
      const lenient = decode(bytes, { strict: false });
      const valid = lenient.every((insn) => operation(insn).kind !== "invalid");
      if (valid) assert.equal(decode(bytes), lenient);
      else assert.is(refusal(() => decode(bytes)).code, "ERR_ASM_ENCODING");
    }),
    { numRuns: rounds(1500, 100_000) },
  );
});

/** Any well-formed instruction: an encoding of the table with every field that is free filled anew. */
const wellFormed: fc.Arbitrary<Instruction> = fc
  .tuple(
    fc.constantFrom(...ENCODINGS),
    fc.nat(10),
    fc.nat(10),
    fc.integer({ min: -0x8000, max: 0x7fff }),
    fc.integer({ min: -0x80000000, max: 0x7fffffff }),
    fc.integer({ min: -0x80000000, max: 0x7fffffff }),
  )
  .map(([{ instruction: insn, operation: op }, dst, src, offset, imm, high]) => ({
    ...insn,
    dst: "dst" in op || "register" in op ? dst : 0,
    src: "src" in op && op.src !== undefined ? src : insn.src,
    offset: "offset" in op && op.kind !== "gotol" && op.kind !== "call-local" ? offset : insn.offset,
    imm:
      /^(endian|atomic|load-acquire|store-release|addr-space-cast)$/.test(op.kind) || !used(insn).has("imm")
        ? insn.imm
        : imm,
    high: op.kind === "ld-imm64" && /immediate|value|btf/.test(op.pseudo) ? high : 0,
  }));

test("any program comes back as it was, in either byte order", () => {
  fc.assert(
    fc.property(fc.array(wellFormed), fc.boolean(), (instructions, littleEndian) => {
      assert.equal(decode(encode(instructions, { littleEndian }), { littleEndian }), instructions);
    }),
    { numRuns: rounds(1000, 20_000) },
  );
});

test("every prefix of a program decodes or is refused", () => {
  const bytes = encode(ENCODINGS.map((encoding) => encoding.instruction));
  for (let length = 0; length <= bytes.length; length++) {
    const part = bytes.subarray(0, length);
    try {
      assert.equal(encode(decode(part)), part);
      assert.is(length % 8, 0);
    } catch (error) {
      assert.instance(error, AsmError);
    }
  }
});

test("a view into a larger buffer is decoded where it is", () => {
  const buffer = new Uint8Array(24);
  buffer.set(fromHex("9500000000000000"), 9);
  assert.equal(decode(buffer.subarray(9, 17)), [instruction(0x95)]);
});

test.run();
