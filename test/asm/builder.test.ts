import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  addrSpaceCast,
  and,
  atomic,
  be,
  bswap,
  call,
  callLocal,
  decode,
  encode,
  exit,
  HELPERS,
  helperNumber,
  type Instruction,
  ja,
  jeq,
  jne,
  label,
  ldAbs,
  ldFunction,
  ldImm64,
  ldMap,
  ldMapValue,
  le,
  link,
  load,
  loadAcquire,
  mov,
  movsx,
  program,
  r0,
  r1,
  r2,
  r10,
  registers,
  store,
  storeRelease,
  subprogram,
  subregisters,
  w0,
  w1,
  w2,
} from "../../src/asm/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { refusal } from "./refusal.ts";

const test = suite("asm builder");

test("a program goes from the builder to bytes and back", () => {
  const instructions = program(
    store("u32", r10, -4, 0),
    ldMap(r1, { fd: 7, name: "counts" }),
    call("map_lookup_elem"),
    jeq(r0, 0, "out"),
    load("u32", r0, r0),
    label("out"),
    exit(),
  );
  const bytes = encode(link(instructions));
  assert.is(
    toHex(bytes),
    "620afcff00000000" +
      "18110000070000000000000000000000" +
      "8500000001000000" +
      "1500010000000000" +
      "6100000000000000" +
      "9500000000000000",
  );
  assert.is(toHex(encode(decode(bytes))), toHex(bytes));
});

test("64-bit operations take 32 signed bits and suggest ldImm64 for more", () => {
  for (const value of [-2147483648, 2147483647, -2147483648n, 2147483647n, 5n, -0]) {
    assert.is(mov(r0, value).imm, Number(value) + 0);
  }
  assert.ok(Object.is(mov(r0, -0).imm, 0), "minus zero");
  for (const value of [2147483648, 0xffffffff, -2147483649, 1n << 40n, -(1n << 31n) - 1n, 1.5, Number.NaN]) {
    const error = refusal(() => mov(r0, value));
    assert.is(
      error.message,
      `Immediate ${value} does not fit 32 signed bits\nHint: Load it into a register with ldImm64() first`,
    );
    assert.is(error.code, "ERR_ASM_RANGE");
    assert.throws(() => jeq(r0, value, "out"), /does not fit 32 signed bits/);
    assert.throws(() => store("u64", r10, -8, value), /does not fit 32 signed bits/);
  }
});

test("32-bit operations take any 32 bits, signed or not", () => {
  assert.is(mov(w0, 0xffffffff).imm, -1);
  assert.is(and(w0, 0xffffff00n).imm, -256);
  assert.is(jne(w0, 0x80000000, 1).imm, -2147483648);
  for (const value of [4294967296, -2147483649, 1n << 32n, 0.5]) {
    assert.is(refusal(() => mov(w0, value)).message, `Immediate ${value} does not fit 32 bits`);
  }
});

test("stored constants must fit their size", () => {
  assert.is(store("u8", r10, -1, 255).imm, 255);
  assert.is(store("u8", r10, -1, -128).imm, -128);
  assert.is(store("u16", r10, -2, 65535).imm, 65535);
  assert.is(store("u32", r10, -4, 0xdeadbeef).imm, 0xdeadbeef | 0);
  assert.is(refusal(() => store("u8", r10, -1, 256)).message, "Immediate 256 does not fit 8 bits");
  assert.is(refusal(() => store("u16", r10, -2, -32769)).message, "Immediate -32769 does not fit 16 bits");
});

test("offsets and distances must fit their fields", () => {
  assert.is(load("u8", r0, r1, 32767).offset, 32767);
  assert.is(refusal(() => load("u8", r0, r1, 32768)).message, "Offset 32768 does not fit 16 signed bits");
  assert.is(refusal(() => ja(-32769)).message, "Offset -32769 does not fit 16 signed bits");
  assert.is(refusal(() => callLocal(2 ** 31)).message, "Distance 2147483648 does not fit 32 signed bits");
  assert.is(refusal(() => ldAbs("u8", 2 ** 40)).message, "Packet offset 1099511627776 does not fit 32 signed bits");
});

test("ldImm64 takes every 64-bit number", () => {
  const cases: [bigint | number, string, string][] = [
    [0, "00000000", "00000000"],
    [-1, "ffffffff", "ffffffff"],
    [0xffffffff, "ffffffff", "00000000"],
    [0xffffffffffffffffn, "ffffffff", "ffffffff"],
    [-(1n << 63n), "00000000", "00000080"],
    [Number.MAX_SAFE_INTEGER, "ffffffff", "ffff1f00"],
  ];
  for (const [value, low, high] of cases) {
    assert.is(toHex(encode([ldImm64(r1, value)])), `18010000${low}00000000${high}`, String(value));
  }
  assert.is(refusal(() => ldImm64(r1, 1n << 64n)).message, "Immediate 18446744073709551616 does not fit 64 bits");
  assert.is(
    refusal(() => ldImm64(r1, 2 ** 53)).message,
    "Number 9007199254740992 is no safe integer\nHint: Write it as a bigint, for example 1n",
  );
});

test("a misspelt helper is a type error and gets a suggestion", () => {
  // @ts-expect-error the compiler knows the names
  const misspelt = (): Instruction => call("map_lookup_elm");
  const error = refusal(misspelt);
  assert.is(error.message, 'Unknown helper "map_lookup_elm"\nHint: Did you mean "map_lookup_elem"?');
  assert.is(error.code, "ERR_ASM_UNKNOWN_HELPER");
  assert.is(refusal(() => helperNumber("bpf_ktime_get_nss")).hint, 'Did you mean "ktime_get_ns"?');
  assert.is(refusal(() => helperNumber("frobnicate_everything")).hint, undefined);
  assert.is(refusal(() => helperNumber("constructor")).code, "ERR_ASM_UNKNOWN_HELPER");
});

test("helpers by name, with prefix and by number", () => {
  assert.is(call("ringbuf_output").imm, 130);
  assert.is(call("bpf_ringbuf_output").imm, 130);
  assert.is(call(130).imm, 130);
  for (const helper of HELPERS) assert.is(helperNumber(helper.name), helper.number);
});

test("registers of different width do not mix", () => {
  // @ts-expect-error r and w
  assert.throws(() => add(r0, w1), /^Registers differ in width: 64 and 32 bits/);
  // @ts-expect-error w and r
  assert.throws(() => jeq(w0, r1, "out"), TypeError);
  // @ts-expect-error a 32-bit move has no 32 bits to extend
  assert.throws(() => movsx(w0, w1, 32), /^Width 32 cannot be sign-extended to 32 bits/);
  // @ts-expect-error a byte swap works on the whole register
  assert.throws(() => be(w0, 16), /^Byte swap needs a 64-bit register, not w0/);
  // @ts-expect-error a load of 64 bits does not fit
  assert.throws(() => load("u64", w0, r1), /^Load of u64 needs a 64-bit register, not w0/);
  // @ts-expect-error sign extension goes to 64 bits
  assert.throws(() => load("s8", w0, r1), /^Load of s8 needs a 64-bit register, not w0/);
  // @ts-expect-error an address is 64 bits
  assert.throws(() => load("u8", r0, w1), /^Address needs a 64-bit register, not w1/);
  // @ts-expect-error half a register is no u64
  assert.throws(() => store("u64", r10, -8, w1), /^Store of u64 needs a 64-bit register, not w1/);
  // @ts-expect-error half a register is no u64
  assert.throws(() => atomic("add", "u64", r10, -8, w1), /^Atomic add of u64 needs a 64-bit register, not w1/);
  assert.throws(() => loadAcquire("u64", w1, r2), /^Load of u64 needs a 64-bit register/);
  assert.throws(() => storeRelease("u64", r10, -8, w1), /^Store of u64 needs a 64-bit register/);
});

test("halves of registers may be loaded and stored in 32 bits and less", () => {
  assert.equal(load("u32", w1, r2, 8), load("u32", r1, r2, 8));
  assert.equal(store("u16", r10, -2, w2), store("u16", r10, -2, r2));
  assert.equal(atomic("xchg", "u32", r10, -4, w2), atomic("xchg", "u32", r10, -4, r2));
});

test("wrong arguments are TypeErrors and RangeErrors", () => {
  const wrong = "text" as unknown as number;
  assert.throws(() => mov(r0, wrong), /^Operand must be a register, a number or a bigint, not text/);
  assert.throws(() => mov(w0, wrong), /^Operand must be a register, a number or a bigint, not text/);
  assert.throws(() => mov(r0, undefined as unknown as number), TypeError);
  assert.throws(() => load("u8", r0, r1, wrong), /^Offset must be a number, not text/);
  assert.throws(() => load("u7" as "u8", r0, r1), /^Unknown size "u7"/);
  assert.throws(() => store("s8" as "u8", r10, -1, 0), /^Unknown size "s8"/);
  assert.throws(() => loadAcquire("s8" as "u8", r0, r1), /^Unknown size "s8"/);
  assert.throws(() => ldAbs("u64" as "u8", 0), /^Packet loads take u8, u16 or u32, not "u64"/);
  assert.throws(() => atomic("nand" as "and", "u64", r10, -8, r1), /^Unknown atomic operation "nand"/);
  assert.throws(() => atomic("add", "u8" as "u32", r10, -8, r1), /^Atomic add works on u32 and u64, not u8/);
  assert.throws(() => le(r0, 8 as 16), /^Byte swap of 8 bits: must be 16, 32 or 64/);
  assert.throws(() => bswap(r0, 128 as 16), RangeError);
});

test("registers by number", () => {
  assert.equal(
    registers.map((register) => register.number),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  );
  assert.equal(
    subregisters.map((register) => `${register.width} ${register.number}`).join(),
    "32 0,32 1,32 2,32 3,32 4,32 5,32 6,32 7,32 8,32 9,32 10",
  );
  assert.equal(mov(registers[3]!, subregisters[3]!.number), mov(registers[3]!, 3));
});

test("maps by handle, by name, by number", () => {
  const map = { fd: 9, name: "events", extra: true };
  assert.equal(ldMap(r1, map).meta, { map });
  assert.equal(ldMap(r1, "events").meta, { reference: "events" });
  assert.is(ldMap(r1, 9).imm, 9);
  assert.equal([ldMapValue(r1, map, 12).src, ldMapValue(r1, map, 12).high], [2, 12]);
  assert.is(ldMapValue(r1, map, 0xfffffff0).high, -16);
});

test("address spaces go to their halves", () => {
  assert.is(addrSpaceCast(r1, r2, 0, 1).imm, 1);
  assert.is(addrSpaceCast(r1, r2, 1, 0).imm, 0x10000);
  assert.is(addrSpaceCast(r1, r2, 0xffff, 2).imm, -65534);
});

test("program() flattens lists and gathers labels", () => {
  const part = [label("a"), [label("b"), [mov(r0, 0)]], [], [[exit()]]];
  const instructions = program(label("start"), part, program(label("c"), exit()));
  assert.equal(
    instructions.map((insn) => insn.meta?.labels),
    [["start", "a", "b"], undefined, ["c"]],
  );
  assert.equal(program(), []);
  const relabelled = program(label("x"), instructions);
  assert.equal(relabelled[0]!.meta?.labels, ["x", "start", "a", "b"]);
  assert.equal(instructions[0]!.meta?.labels, ["start", "a", "b"], "left as it was");
});

test("a label at the very end is an error", () => {
  const error = refusal(() => program(mov(r0, 0), exit(), label("end")));
  assert.is(error.message, 'Label "end" stands at the end, where no instruction follows');
  assert.is(error.code, "ERR_ASM_LABEL");
});

test("subprograms have labels of their own", () => {
  const body = (name: string): Instruction[] =>
    subprogram(name, jeq(r1, 0, "out"), callLocal("other"), ldFunction(r2, name), label("out"), exit());
  const instructions = program(body("one"), body("other"));
  assert.equal(
    instructions.map((insn) => [insn.meta?.labels?.join(), insn.meta?.reference]),
    [
      ["one", "one.out"],
      [undefined, "other"],
      [undefined, "one"],
      ["one.out", undefined],
      ["other", "other.out"],
      [undefined, "other"],
      [undefined, "other"],
      ["other.out", undefined],
    ],
  );
  link(instructions);
});

test("a hundred thousand instructions in one list do not overflow the stack", () => {
  const many = Array.from({ length: 200_000 }, () => mov(r0, 0));
  assert.is(program(many, exit()).length, 200_001);
});

test.run();
