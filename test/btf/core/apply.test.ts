import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  be,
  call,
  encode,
  exit,
  type Instruction,
  jeq,
  LD_IMM64,
  label,
  ldImm64,
  ldMapValue,
  link,
  load,
  mov,
  neg,
  program,
  r0,
  r1,
  r2,
  slotsOf,
  store,
  w0,
  withMeta,
} from "../../../src/asm/index.ts";
import {
  applyFixup,
  applyFixups,
  CORE_POISON,
  type CoreFixup,
  type CoreRelocation,
  coreRelocation,
  coreRelocationsOf,
  type TypeId,
} from "../../../src/btf/index.ts";
import { toHex } from "../../../src/bytes/index.ts";
import { BtfError } from "../../../src/errors.ts";

const test = suite("btf/core/apply");

const relocation: CoreRelocation = { kind: "field_byte_offset", type: 2 as TypeId, access: "0:0" };

function answer(before: bigint, after: bigint, more: Partial<CoreFixup> = {}): CoreFixup {
  return {
    relocation,
    local: "struct s.a (0:0 @ offset 0)",
    target: undefined,
    before,
    after,
    checked: true,
    memory: undefined,
    poison: false,
    reason: undefined,
    candidates: [],
    ...more,
  };
}

const sizes = (before: number, after: number, adjustable = true): Partial<CoreFixup> => ({
  memory: { before, after, adjustable, disputed: undefined },
});

const carrying = (insn: Instruction): Instruction => withMeta(insn, { relocation: coreRelocation(relocation) });
const POISON = "850000001023ad0b";
const hex = (instructions: readonly Instruction[]): string => toHex(encode(instructions));

test("changes the immediate, the offset or the 64 bits of an instruction", () => {
  const cases: readonly (readonly [Instruction, CoreFixup, Instruction])[] = [
    [mov(r0, 4), answer(4n, 12n), mov(r0, 12)],
    [mov(w0, 4), answer(4n, 12n), mov(w0, 12)],
    [add(r1, 4), answer(4n, 12n), add(r1, 12)],
    [mov(r0, -3), answer(-3n, -5n), mov(r0, -5)],
    [mov(r0, 0), answer(0n, 0x7fffffffn), mov(r0, 0x7fffffff)],
    [mov(w0, 0), answer(0n, 0xfffffffen), mov(w0, -2)],
    [mov(r0, 99), answer(4n, 12n, { checked: false }), mov(r0, 12)],
    [load("u32", r0, r1, 4), answer(4n, 32767n), load("u32", r0, r1, 32767)],
    [load("s16", r0, r1, 4), answer(4n, 12n), load("s16", r0, r1, 12)],
    [store("u64", r1, 4, r2), answer(4n, 12n), store("u64", r1, 12, r2)],
    [store("u8", r1, 4, 7), answer(4n, 12n), store("u8", r1, 12, 7)],
    [load("u32", r0, r1, 4), answer(4n, 12n, sizes(4, 8)), load("u64", r0, r1, 12)],
    [load("u64", r0, r1, 4), answer(4n, 12n, sizes(8, 1)), load("u8", r0, r1, 12)],
    [load("u8", r0, r1, 4), answer(4n, 12n, sizes(1, 2)), load("u16", r0, r1, 12)],
    [store("u16", r1, 4, r2), answer(4n, 12n, sizes(2, 4)), store("u32", r1, 12, r2)],
    [store("u32", r1, 4, 7), answer(4n, 12n, sizes(4, 8)), store("u64", r1, 12, 7)],
    // Where the size stays, the width may be any: part of a field.
    [load("u8", r0, r1, 4), answer(4n, 12n, sizes(4, 4, false)), load("u8", r0, r1, 12)],
    [ldImm64(r0, 4n), answer(4n, 2n ** 63n), ldImm64(r0, 2n ** 63n)],
    [ldImm64(r0, -3n), answer(-3n, -5n), ldImm64(r0, -5n)],
    [ldImm64(r0, 2n ** 64n - 3n), answer(-3n, 5n), ldImm64(r0, 5n)],
    [ldImm64(r0, 1n), answer(1n, 0x1234567890abcdefn), ldImm64(r0, 0x1234567890abcdefn)],
  ];
  for (const [insn, fixup, wanted] of cases) {
    const result = applyFixup(carrying(insn), fixup);
    assert.equal(result, [wanted], hex([insn]));
    assert.equal(result[0]!.meta, undefined, "the relocation is done");
  }
});

test("enumerators of 2^31 and more stay in the form that the program has them in", () => {
  const value = { relocation: { ...relocation, kind: "enumval_value" as const } };
  const top = answer(0x80000001n, 0xfffffff0n, value);
  assert.equal(applyFixup(ldImm64(r0, 0x80000001n), top), [ldImm64(r0, 0xfffffff0n)]);
  assert.equal(applyFixup(ldImm64(r0, -0x7fffffffn), top), [ldImm64(r0, -16n)]);
  assert.equal(applyFixup(mov(r0, -0x7fffffff), top), [mov(r0, -16)]);
  assert.equal(applyFixup(ldImm64(r0, -0x7fffffffn), answer(0x80000001n, 2n ** 40n, value)), [ldImm64(r0, 2n ** 40n)]);
  assert.throws(() => applyFixup(ldImm64(r0, -0x7fffffffn), answer(0x80000001n, 5n)), /the immediate is -2147483647/);
  for (const other of [0x180000001n, -0x17fffffffn]) {
    assert.throws(() => applyFixup(ldImm64(r0, other), top), /expected 2147483649/);
  }
});

function refuses(insn: Instruction, fixup: CoreFixup, message: string): void {
  assert.throws(
    () => applyFixup(insn, fixup),
    (error: unknown) => {
      assert.instance(error, BtfError);
      assert.is((error as BtfError).message, `Cannot apply <byte_off> [2] struct s.a (0:0 @ offset 0): ${message}`);
      assert.is((error as BtfError).code, "ERR_CORE_RELOCATION");
      return true;
    },
  );
}

test("refuses instructions that cannot hold the answer", () => {
  const fixup = answer(4n, 12n);
  refuses(mov(r0, 5), fixup, "the immediate is 5, expected 4");
  refuses(load("u32", r0, r1, 5), fixup, "the offset is 5, expected 4");
  refuses(ldImm64(r0, 5n), fixup, "the immediate is 5, expected 4");
  refuses(mov(r0, r1), fixup, "opcode 0xbf has no immediate to change");
  refuses(be(r0, 16), fixup, "opcode 0xdc has no immediate to change");
  refuses(neg(r0), answer(4n, 12n), "the immediate is 0, expected 4");
  refuses(call(4), fixup, "opcode 0x85 takes no relocation");
  refuses(exit(), fixup, "opcode 0x95 takes no relocation");
  refuses(jeq(r0, 4, 0), fixup, "opcode 0x15 takes no relocation");
  refuses(ldMapValue(r0, 4, 0), fixup, "the instruction is no plain ld_imm64");
  refuses({ ...ldImm64(r0, 4n), offset: 1 }, fixup, "the instruction is no plain ld_imm64");
  refuses(withMeta(ldImm64(r0, 4n), { secondSlot: "missing" }), fixup, "the instruction is no plain ld_imm64");
  refuses({ ...mov(r0, 4), opcode: 0x20 }, fixup, "the instruction is no plain ld_imm64");
});

test("refuses answers that do not fit", () => {
  refuses(load("u32", r0, r1, 4), answer(4n, 32768n), "offset 32768 does not fit 16 bits");
  refuses(load("u32", r0, r1, 4), answer(4n, -1n), "offset -1 does not fit 16 bits");
  refuses(mov(r0, 4), answer(4n, 0x80000000n), "2147483648 does not fit the immediate");
  refuses(mov(r0, 4), answer(4n, 2n ** 64n - 1n), "18446744073709551615 does not fit the immediate");
  refuses(mov(w0, 4), answer(4n, 0x100000000n), "4294967296 does not fit the immediate");
  refuses(mov(w0, 4), answer(4n, -0x80000001n), "-2147483649 does not fit the immediate");
});

test("refuses to guess the width of a load", () => {
  refuses(load("u16", r0, r1, 4), answer(4n, 12n, sizes(4, 8)), "the instruction moves 2 bytes, the field has 4 bytes");
  refuses(load("u32", r0, r1, 4), answer(4n, 12n, sizes(4, 3)), "no instruction moves the 3 bytes of the field");
  refuses(load("u32", r0, r1, 4), answer(4n, 12n, sizes(4, 16)), "no instruction moves the 16 bytes of the field");
  const disputed = { memory: { before: 4, after: 4, adjustable: false, disputed: [4, 8] } };
  const [result] = applyFixup(load("u32", r0, r1, 4), answer(4n, 12n, disputed));
  assert.match(result!.meta!.source!.text, /: candidates agree on the offset, but have fields of 4 and 8 bytes$/);
  assert.is(hex([result!]), POISON);
  assert.equal(applyFixup(mov(r0, 4), answer(4n, 12n, disputed)), [mov(r0, 12)], "arithmetic does not care");
});

test("poisons what has no answer, both halves of an ld_imm64, and says so in the source", () => {
  assert.is(CORE_POISON, 0xbad2310);
  const missing = answer(4n, 0n, { poison: true, reason: "no matching field in vmlinux" });
  const text =
    "instruction poisoned by CO-RE: <byte_off> [2] struct s.a (0:0 @ offset 0): no matching field in vmlinux";
  for (const insn of [mov(r0, 9), load("u32", r0, r1, 9), exit(), call(1)]) {
    const result = applyFixup(carrying(insn), missing);
    assert.is(hex(result), POISON);
    assert.equal(result[0]!.meta, { source: { file: "", line: 0, column: 0, text } });
  }
  const source = { file: "a.c", line: 3, column: 5, text: "return s->a;" };
  const wide = withMeta(carrying(ldImm64(r0, 9n)), { labels: ["here"], source });
  const halves = applyFixup(wide, missing);
  assert.is(hex(halves), POISON + POISON);
  assert.equal(halves[0]!.meta, { labels: ["here"], source: { ...source, text } });
  assert.equal(halves[1]!.meta, { source: { ...source, text } });
});

test("poisons loads of a field that became another size and would be read wrongly", () => {
  const fixup = answer(4n, 12n, sizes(4, 8, false));
  for (const insn of [load("u32", r0, r1, 4), store("u32", r1, 4, r2), store("u32", r1, 4, 7)]) {
    const [result, ...others] = applyFixup(carrying(insn), fixup);
    assert.is(others.length, 0);
    assert.is(hex([result!]), POISON);
    assert.match(
      result!.meta!.source!.text,
      /: the field has 4 bytes in the program and 8 bytes in the kernel, and is neither a pointer nor an unsigned integer in both$/,
    );
  }
  assert.equal(applyFixup(mov(r0, 4), fixup), [mov(r0, 12)], "its place is still right");
  // As libbpf, after what would be an error in any case.
  refuses(load("u32", r0, r1, 5), fixup, "the offset is 5, expected 4");
});

test("poisons sign-extending loads that would become one of 8 bytes, which does not exist", () => {
  const insn = load("s32", r0, r1, 4);
  assert.equal(applyFixup(insn, answer(4n, 12n, sizes(4, 2))), [load("s16", r0, r1, 12)]);
  const [result] = applyFixup(insn, answer(4n, 12n, sizes(4, 8)));
  assert.is(hex([result!]), POISON);
  assert.match(result!.meta!.source!.text, /: no sign-extending load moves the 8 bytes of the field$/);
});

test("goes through a program and keeps its jumps", () => {
  const other: CoreRelocation = { kind: "type_size", type: 3 as TypeId, access: "0" };
  const instructions = program([
    jeq(r1, 0, "end"),
    carrying(ldImm64(r0, 9n)),
    withMeta(mov(r0, 16), { relocation: coreRelocation(other) }),
    label("end"),
    carrying(load("u32", r0, r1, 4)),
    exit(),
  ]);
  assert.equal(coreRelocationsOf(instructions), [relocation, other, relocation]);
  const missing = answer(4n, 0n, { poison: true, reason: "gone" });
  const found = answer(16n, 24n, { relocation: other });
  const result = applyFixups(instructions, [found, missing]);
  assert.is(result.length, instructions.length + 1);
  const slots = (list: readonly Instruction[]): number => list.reduce((sum, insn) => sum + slotsOf(insn), 0);
  assert.is(slots(result), slots(instructions));
  assert.equal(coreRelocationsOf(result), []);
  assert.is(
    hex(link(result)),
    `1501030000000000${POISON}${POISON}b700000018000000${POISON}9500000000000000`,
    "the jump still leads to what was the load",
  );
  assert.is(instructions[1]!.opcode, LD_IMM64, "what was given is left as it was");
});

test("tells which instruction it could not change", () => {
  const instructions = [exit(), carrying(mov(r0, 5))];
  assert.throws(
    () => applyFixups(instructions, [answer(4n, 12n)]),
    (error: unknown) =>
      (error as Error).message ===
      "Cannot apply <byte_off> [2] struct s.a (0:0 @ offset 0): the immediate is 5, expected 4 (instruction[1])",
  );
  assert.throws(
    () => applyFixups(instructions, []),
    (error: unknown) =>
      (error as BtfError).code === "ERR_CORE_RELOCATION" &&
      (error as BtfError).message === "No answer for field_byte_offset of type [2], access 0:0 (instruction[1])",
  );
  const foreign = withMeta(mov(r0, 5), { relocation: { kind: "other" } });
  assert.equal(applyFixups([foreign], []), [foreign], "relocations of other kinds are not ours");
});

test.run();
