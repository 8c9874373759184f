import { suite } from "uvu";
import * as assert from "uvu/assert";
import { getVariable, parseObject, setVariable } from "../../../src/elf/index.ts";
import { BpfError } from "../../../src/errors.ts";
import { fixture } from "../build.ts";

const test = suite("elf/object/variables");

const FIRST: Record<string, unknown> = {
  limit: 1000n,
  enabled: true,
  color: "GREEN",
  text: "from C",
  origin: { x: -5, flags: 5, rest: 0, name: "origin", next: 0n },
  secret: 9,
  counter: 42,
  negative: -2n,
  table: [1, 2, 3, 4],
  hidden: 6,
  zero: 0n,
  local: 0,
  custom: 11,
  constant: 12,
  cleared: 0n,
  "first.calls": 100,
  "second.calls": 200,
};

const OTHERS: Record<string, unknown> = {
  limit: 0xffffffffffffffffn,
  enabled: false,
  color: "RED",
  text: "fifteen letters",
  origin: { x: 7, flags: 2, rest: 8191, name: "there", next: 1n },
  negative: -0x8000000000000000n,
  table: [65535, 0, 1, 2],
  zero: 5n,
  local: 6,
  cleared: 1n << 63n,
  "second.calls": 201,
};

for (const order of ["el", "eb"]) {
  test(`first values by name (${order})`, () => {
    const spec = parseObject(fixture(`variables.${order}.o`));
    for (const [name, value] of Object.entries(FIRST)) assert.equal(getVariable(spec, name), value, name);
    assert.equal(getVariable(spec, "large"), new Uint8Array(5000));
    const rest = Object.keys(spec.variables).filter((name) => !(name in FIRST));
    assert.equal(rest, ["large"]);
  });

  test(`other first values (${order})`, () => {
    const spec = parseObject(fixture(`variables.${order}.o`));
    for (const [name, value] of Object.entries(OTHERS)) setVariable(spec, name, value);
    for (const [name, value] of Object.entries({ ...FIRST, ...OTHERS }))
      assert.equal(getVariable(spec, name), value, name);
    // As much as there is to say, and no more.
    assert.is(spec.maps[".bss"]!.contents.length, 5012);
    assert.is(spec.maps[".bss.custom"]!.contents.length, 8);
    assert.is(spec.maps[".data"]!.contents.length, 36);
  });
}

test("a section grows only as far as something is written", () => {
  const spec = parseObject(fixture("variables.el.o"));
  setVariable(spec, "zero", 1n);
  assert.is(spec.maps[".bss"]!.contents.length, 8);
  assert.is(getVariable(spec, "local"), 0);
});

test("without types, values are bytes", () => {
  const spec = parseObject(fixture("no-btf.el.o"));
  assert.equal(getVariable(spec, "counter"), Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0));
  setVariable(spec, "counter", new Uint8Array(8).fill(1));
  assert.equal(getVariable(spec, "counter"), new Uint8Array(8).fill(1));
  assert.throws(() => setVariable(spec, "counter", new Uint8Array(7)), "Need 8 bytes, found 7");
});

test("what cannot be is refused, and changes nothing", () => {
  const spec = parseObject(fixture("variables.el.o"));
  const thrown = (run: () => void): [string, string] => {
    try {
      run();
    } catch (error) {
      return [(error as Error).name, (error as BpfError).message];
    }
    throw new Error("nothing was thrown");
  };
  assert.is(thrown(() => setVariable(spec, "counter", 2 ** 32))[0], "RangeError");
  assert.is(thrown(() => setVariable(spec, "text", "sixteen letters!!"))[0], "RangeError");
  assert.is(thrown(() => setVariable(spec, "origin", { x: 1 }))[0], "TypeError");
  assert.is(thrown(() => setVariable(spec, "color", "BLUE"))[0], "RangeError");
  assert.equal(
    thrown(() => getVariable(spec, "conter")),
    ["BpfError", 'No variable "conter" in the object\nHint: Did you mean "counter"?'],
  );
  assert.throws(
    () => getVariable(spec, "toString"),
    (error: unknown) => error instanceof BpfError && error.code === "ERR_OBJECT",
  );
  for (const [name, value] of Object.entries(FIRST)) assert.equal(getVariable(spec, name), value, name);
});

test.run();
