import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  AsmError,
  call,
  decode,
  encode,
  exit,
  type Instruction,
  jeq,
  label,
  ldMap,
  link,
  load,
  mov,
  program,
  r0,
  r1,
  r10,
  store,
} from "../../src/asm/index.ts";
import { fromHex, toHex } from "../../src/bytes/index.ts";

const test = suite("asm encoding");

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
    "620afcff00000000181100000700000000000000000000008500000001000000150001000000000061000000000000009500000000000000",
  );
  assert.is(toHex(encode(decode(bytes))), toHex(bytes));
});

test("a misspelt helper gets a suggestion", () => {
  // @ts-expect-error the compiler knows the names
  const misspelt = (): Instruction => call("map_lookup_elm");
  assert.throws(misspelt, (error: AsmError) => {
    assert.instance(error, AsmError);
    assert.is(error.code, "ERR_ASM_UNKNOWN_HELPER");
    assert.is(error.message, 'Unknown helper "map_lookup_elm"\nHint: Did you mean "map_lookup_elem"?');
    return true;
  });
});

test("lenient decoding gives every byte back", () => {
  for (const hex of ["18ff112233445566", "ffffffffffffffff", "18000000000000000512345678900000"]) {
    assert.is(toHex(encode(decode(fromHex(hex), { strict: false }))), hex);
    const big = { littleEndian: false, strict: false };
    assert.is(toHex(encode(decode(fromHex(hex), big), big)), hex);
  }
});

test("mov refuses what it cannot hold", () => {
  assert.throws(() => mov(r0, 1n << 40n), /Immediate 1099511627776 does not fit 32 signed bits\nHint: .*ldImm64/);
});

test.run();
