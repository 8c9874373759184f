import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  ATOMIC_FETCH,
  AtomicOp,
  assemble,
  exit,
  type Instruction,
  instruction,
  ldImm64,
  load,
  mov,
  operation,
  printInstruction,
  r0,
  r10,
  registers,
  store,
} from "../../src/asm/index.ts";
import { createMachine } from "../../src/vm/index.ts";
import { rounds } from "../support/harness.ts";

const test = suite("vm/isa");

const machine = createMachine();
const U64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const S64 = (value: bigint): bigint => BigInt.asIntN(64, value);

/** Runs instructions and gives r0. */
function r0After(instructions: readonly Instruction[]): bigint {
  return machine.load({ type: "kprobe", instructions: [...instructions, exit()] }).run().r0;
}

/** `text` with r1 = a and r2 = b. */
function evaluate(text: string, a: bigint, b: bigint): bigint {
  return r0After([ldImm64(registers[1]!, U64(a)), ldImm64(registers[2]!, U64(b)), ...assemble(text)]);
}

// Expectations from RFC 9669; a and b are r1 and r2, the result r1.
type Model = (a: bigint, b: bigint) => bigint;
const low = (value: bigint): bigint => value & 0xffff_ffffn;
const s32 = (value: bigint): bigint => BigInt.asIntN(32, value);
const wide: Record<string, Model> = {
  "+=": (a, b) => a + b,
  "-=": (a, b) => a - b,
  "*=": (a, b) => a * b,
  "/=": (a, b) => (b === 0n ? 0n : a / b),
  "s/=": (a, b) => (b === 0n ? 0n : S64(a) / S64(b)),
  "%=": (a, b) => (b === 0n ? a : a % b),
  "s%=": (a, b) => (b === 0n ? a : S64(a) % S64(b)),
  "|=": (a, b) => a | b,
  "&=": (a, b) => a & b,
  "^=": (a, b) => a ^ b,
  "<<=": (a, b) => a << (b & 63n),
  ">>=": (a, b) => a >> (b & 63n),
  "s>>=": (a, b) => S64(a) >> (b & 63n),
};
const narrow: Record<string, Model> = {
  "+=": (a, b) => a + b,
  "-=": (a, b) => a - b,
  "*=": (a, b) => a * b,
  "/=": (a, b) => (low(b) === 0n ? 0n : low(a) / low(b)),
  "s/=": (a, b) => (low(b) === 0n ? 0n : s32(a) / s32(b)),
  "%=": (a, b) => (low(b) === 0n ? a : low(a) % low(b)),
  "s%=": (a, b) => (low(b) === 0n ? a : s32(a) % s32(b)),
  "|=": (a, b) => a | b,
  "&=": (a, b) => a & b,
  "^=": (a, b) => a ^ b,
  "<<=": (a, b) => a << (b & 31n),
  ">>=": (a, b) => low(a) >> (b & 31n),
  "s>>=": (a, b) => s32(a) >> (b & 31n),
};
const conditions: Record<string, (a: bigint, b: bigint, signed: (value: bigint) => bigint) => boolean> = {
  "==": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  "&": (a, b) => (a & b) !== 0n,
  "s>": (a, b, s) => s(a) > s(b),
  "s>=": (a, b, s) => s(a) >= s(b),
  "s<": (a, b, s) => s(a) < s(b),
  "s<=": (a, b, s) => s(a) <= s(b),
};
const unary: Record<string, Model> = {
  "r1 = -r1": (a) => -a,
  "w1 = -w1": (a) => low(-a),
  "r1 = le16 r1": (a) => a & 0xffffn,
  "r1 = le32 r1": low,
  "r1 = le64 r1": (a) => a,
  "r1 = be16 r1": (a) => swapped(a, 2),
  "r1 = be32 r1": (a) => swapped(a, 4),
  "r1 = be64 r1": (a) => swapped(a, 8),
  "r1 = bswap16 r1": (a) => swapped(a, 2),
  "r1 = bswap32 r1": (a) => swapped(a, 4),
  "r1 = bswap64 r1": (a) => swapped(a, 8),
  "r1 = r2": (_, b) => b,
  "w1 = w2": (_, b) => low(b),
  "r1 = (s8)r2": (_, b) => BigInt.asIntN(8, b),
  "r1 = (s16)r2": (_, b) => BigInt.asIntN(16, b),
  "r1 = (s32)r2": (_, b) => s32(b),
  "w1 = (s8)w2": (_, b) => low(BigInt.asIntN(8, b)),
  "w1 = (s16)w2": (_, b) => low(BigInt.asIntN(16, b)),
};
function swapped(value: bigint, bytes: number): bigint {
  let result = 0n;
  for (let i = 0; i < bytes; i++) result = (result << 8n) | ((value >> BigInt(8 * i)) & 0xffn);
  return result;
}

const edges = [
  0n,
  1n,
  2n,
  5n,
  31n,
  32n,
  33n,
  63n,
  64n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x1f_ffff_ffff_ffffn,
  0x20_0000_0000_0000n,
  0x0123_4567_89ab_cdefn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_0000_0000n,
  0xffff_ffff_ffff_fffen,
  0xffff_ffff_ffff_ffffn,
];
let state = 0x1234_5678;
function random32(): bigint {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return BigInt(state >>> 0);
}
/** Pairs of numbers: all edges with one another, and random ones of all widths. */
function* pairs(): Generator<readonly [bigint, bigint]> {
  for (const a of edges) for (const b of edges) yield [a, b];
  for (let i = 0; i < rounds(40, 4000); i++) {
    const shape = (): bigint => ((random32() << 32n) | random32()) >> (random32() & 63n);
    yield [shape(), shape()];
  }
}

/** Computes many results in one run: a program with a constant pair of operands for each would be slow to load. */
const values = machine.allocate(new Uint8Array(24), { writable: true });
function tabulate(text: string, width: 32 | 64): (a: bigint, b: bigint) => bigint {
  const program = machine.load({
    type: "kprobe",
    instructions: [
      ldImm64(registers[9]!, values.address),
      load("u64", registers[1]!, registers[9]!, 0),
      load("u64", registers[2]!, registers[9]!, 8),
      ...assemble(text),
      exit(),
    ],
  });
  void width;
  return (a, b) => {
    values.write(new Uint8Array(BigUint64Array.of(U64(a), U64(b), 0n).buffer));
    return program.run().r0;
  };
}

for (const [sign, model] of Object.entries(wide)) {
  test(`64 bits: r1 ${sign} r2`, () => {
    const run = tabulate(`r1 ${sign} r2\nr0 = r1`, 64);
    for (const [a, b] of pairs()) assert.is(run(a, b), U64(model(a, b)), `${a} ${sign} ${b}`);
  });
}
for (const [sign, model] of Object.entries(narrow)) {
  test(`32 bits: w1 ${sign} w2`, () => {
    const run = tabulate(`w1 ${sign} w2\nr0 = r1`, 32);
    for (const [a, b] of pairs()) assert.is(run(a, b), low(model(a, b)), `${a} ${sign} ${b}`);
  });
}
for (const [text, model] of Object.entries(unary)) {
  test(text, () => {
    const run = tabulate(`${text}\nr0 = r1`, 64);
    for (const [a, b] of pairs()) assert.is(run(a, b), U64(model(a, b)), `${text} of ${a}, ${b}`);
  });
}
for (const [sign, model] of Object.entries(conditions)) {
  for (const [width, letter] of [
    [64, "r"],
    [32, "w"],
  ] as const) {
    test(`if ${letter}1 ${sign} ${letter}2`, () => {
      const run = tabulate(`r0 = 1\nif ${letter}1 ${sign} ${letter}2 goto out\nr0 = 0\nout: r0 = r0`, width);
      const cut = (value: bigint): bigint => BigInt.asUintN(width, value);
      const signed = (value: bigint): bigint => BigInt.asIntN(width, value);
      for (const [a, b] of pairs()) {
        assert.is(run(a, b), model(cut(a), cut(b), signed) ? 1n : 0n, `${a} ${sign} ${b} in ${width} bits`);
      }
    });
  }
}

test("immediates are extended with their sign", () => {
  for (const [sign, model] of Object.entries(wide)) {
    for (const imm of [-1, 1, -0x8000_0000, 0x7fff_ffff, 7]) {
      if (sign.includes("<<") || sign.includes(">>")) continue;
      const a = 0x8123_4567_89ab_cdefn;
      assert.is(evaluate(`r1 ${sign} ${imm}\nr0 = r1`, a, 0n), U64(model(a, U64(BigInt(imm)))), `${sign} ${imm}`);
    }
  }
  assert.is(evaluate("r0 = -1", 0n, 0n), 0xffff_ffff_ffff_ffffn);
  assert.is(evaluate("w0 = -1", 0n, 0n), 0xffff_ffffn);
  assert.is(evaluate("r0 = 1\nif r1 == -1 goto +1\nr0 = 0", -1n, 0n), 1n);
});

/** Loads: the text, and what it gives of the bytes 81 82 .. 88. */
const loads: Record<string, bigint> = {
  "r0 = *(u8 *)(r10 - 8)": 0x81n,
  "r0 = *(u16 *)(r10 - 8)": 0x8281n,
  "r0 = *(u32 *)(r10 - 8)": 0x8483_8281n,
  "r0 = *(u64 *)(r10 - 8)": 0x8887_8685_8483_8281n,
  "r0 = *(s8 *)(r10 - 8)": U64(-0x7fn),
  "r0 = *(s16 *)(r10 - 8)": U64(0x8281n - 0x1_0000n),
  "r0 = *(s32 *)(r10 - 8)": U64(0x8483_8281n - 0x1_0000_0000n),
  "r0 = *(u32 *)(r10 - 7)": 0x8584_8382n,
  "r0 = *(u16 *)(r10 - 3)": 0x8786n,
  "r0 = load_acquire((u64 *)(r10 - 8))": 0x8887_8685_8483_8281n,
  "r0 = load_acquire((u8 *)(r10 - 2))": 0x87n,
};
for (const [text, expected] of Object.entries(loads)) {
  test(text, () => {
    assert.is(evaluate(`*(u64 *)(r10 - 8) = r1\n${text}`, 0x8887_8685_8483_8281n, 0n), expected);
  });
}

/** Stores of r1 = 0x1122334455667788 over eight bytes ff. */
const stores: Record<string, bigint> = {
  "*(u8 *)(r10 - 8) = r1": 0xffff_ffff_ffff_ff88n,
  "*(u16 *)(r10 - 8) = r1": 0xffff_ffff_ffff_7788n,
  "*(u32 *)(r10 - 8) = r1": 0xffff_ffff_5566_7788n,
  "*(u64 *)(r10 - 8) = r1": 0x1122_3344_5566_7788n,
  "*(u8 *)(r10 - 8) = -2": 0xffff_ffff_ffff_fffen,
  "*(u16 *)(r10 - 7) = 258": 0xffff_ffff_ff01_02ffn,
  "*(u32 *)(r10 - 8) = 1": 0xffff_ffff_0000_0001n,
  "*(u64 *)(r10 - 8) = -2": 0xffff_ffff_ffff_fffen,
  "store_release((u64 *)(r10 - 8), r1)": 0x1122_3344_5566_7788n,
  "store_release((u8 *)(r10 - 1), r1)": 0x88ff_ffff_ffff_ffffn,
};
for (const [text, expected] of Object.entries(stores)) {
  test(text, () => {
    const whole = `r0 = -1\n*(u64 *)(r10 - 8) = r0\n${text}\nr0 = *(u64 *)(r10 - 8)`;
    assert.is(evaluate(whole, 0x1122_3344_5566_7788n, 0n), expected);
  });
}

const atomics: Record<string, readonly [imm: number, model: Model]> = {
  add: [AtomicOp.add, (a, b) => a + b],
  or: [AtomicOp.or, (a, b) => a | b],
  and: [AtomicOp.and, (a, b) => a & b],
  xor: [AtomicOp.xor, (a, b) => a ^ b],
};
for (const [name, [imm, model]] of Object.entries(atomics)) {
  for (const bits of [32, 64]) {
    for (const fetch of [false, true]) {
      test(`atomic ${name} of ${bits} bits${fetch ? ", fetching" : ""}`, () => {
        const opcode = bits === 64 ? 0xdb : 0xc3;
        const old = 0xfedc_ba98_7654_3210n;
        const operand = 0x8000_0001_f000_000fn;
        const body = [
          ldImm64(registers[1]!, old),
          ldImm64(registers[2]!, operand),
          store("u64", r10, -8, registers[1]!),
          instruction(opcode, 10, 2, -8, imm | (fetch ? ATOMIC_FETCH : 0)),
        ];
        const cut = bits === 64 ? U64 : low;
        const above = bits === 64 ? 0n : old & 0xffff_ffff_0000_0000n;
        assert.is(r0After([...body, load("u64", r0, r10, -8)]), above | cut(model(cut(old), cut(operand))));
        assert.is(r0After([...body, mov(r0, registers[2]!)]), fetch ? cut(old) : operand);
      });
    }
  }
}

for (const bits of [32, 64]) {
  const opcode = bits === 64 ? 0xdb : 0xc3;
  const cut = bits === 64 ? U64 : low;
  const old = 0xfedc_ba98_7654_3210n;
  test(`xchg of ${bits} bits`, () => {
    const body = [
      ldImm64(registers[1]!, old),
      ldImm64(registers[2]!, 0x1111_2222_3333_4444n),
      store("u64", r10, -8, registers[1]!),
      instruction(opcode, 10, 2, -8, AtomicOp.xchg),
    ];
    const expected = bits === 64 ? 0x1111_2222_3333_4444n : 0xfedc_ba98_3333_4444n;
    assert.is(r0After([...body, load("u64", r0, r10, -8)]), expected);
    assert.is(r0After([...body, mov(r0, registers[2]!)]), cut(old));
  });
  for (const same of [true, false]) {
    test(`cmpxchg of ${bits} bits, ${same ? "equal" : "different"}`, () => {
      const body = [
        ldImm64(registers[1]!, old),
        ldImm64(registers[2]!, 0x1111_2222_3333_4444n),
        store("u64", r10, -8, registers[1]!),
        // The upper half does not count in 32 bits.
        ldImm64(r0, same ? (bits === 64 ? old : low(old) | (7n << 32n)) : 1n),
        instruction(opcode, 10, 2, -8, AtomicOp.cmpxchg),
      ];
      const changed = bits === 64 ? 0x1111_2222_3333_4444n : 0xfedc_ba98_3333_4444n;
      assert.is(r0After(body), cut(old));
      assert.is(r0After([...body, load("u64", r0, r10, -8)]), same ? changed : old);
    });
  }
}

test("jumps, calls of functions, and what they keep", () => {
  assert.is(evaluate("r0 = 1\ngoto out\nr0 = 2\nout: r0 += 10", 0n, 0n), 11n);
  assert.is(evaluate("r0 = 1\ngotol out\nr0 = 2\nout: r0 += 10", 0n, 0n), 11n);
  const text = `
    r6 = 7
    *(u64 *)(r10 - 8) = r6
    r1 = 5
    call double
    r0 += r6
    r1 = *(u64 *)(r10 - 8)
    r0 += r1
    exit
  double:
    r6 = r1
    *(u64 *)(r10 - 8) = r6
    r0 = *(u64 *)(r10 - 8)
    r0 += r6
  `;
  assert.is(evaluate(text, 0n, 0n), 24n);
});

test("may_goto jumps when its iterations are spent", () => {
  const text = "r0 = 0\nloop: may_goto out\nr0 += 1\ngoto loop\nout: r0 = r0";
  assert.is(evaluate(text, 0n, 0n), 8n * 1024n * 1024n);
});

test("every opcode that is an instruction runs or is refused with a reason", () => {
  let ran = 0;
  for (let opcode = 0; opcode < 256; opcode++) {
    const insn = instruction(opcode, 0, 0, 0, 0);
    if (operation(insn).kind === "invalid") {
      assert.throws(
        () => r0After([insn]),
        (error: { code?: string }) => error.code?.startsWith("ERR_") === true,
      );
    } else ran++;
  }
  assert.ok(ran > 100, `${ran} opcodes`);
  void printInstruction;
});

test.run();
