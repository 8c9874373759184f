import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  ATOMIC_FETCH,
  AtomicOp,
  add,
  exit,
  type Instruction,
  instruction,
  jgt,
  label,
  ldMapValue,
  load,
  type MapReference,
  mov,
  type ProgramItem,
  print,
  program,
  r0,
  r1,
  r2,
  r3,
  r8,
  r9,
  r10,
  registers,
  store,
} from "../../src/asm/index.ts";
import { createMap } from "../../src/maps/index.ts";
import { loadProgram, VerifierError } from "../../src/programs/index.ts";
import { createMachine } from "../../src/vm/index.ts";
import { failOnLeaks, requires, rounds } from "../support/harness.ts";

const test = suite("vm/differential");
failOnLeaks(test);

let state = 0x6c07_8965;
function random(limit: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % limit;
}
function pick<T>(list: readonly T[]): T {
  return list[random(list.length)]!;
}

/** Registers of a random program: r8 is the packet, r9 the value of the map. */
const FREE = 8;
const PACKET = 64;
const VALUE = 160;
const OUTPUT = 80;
const SLOTS = 8;

const IMMEDIATES = [0, 1, -1, 2, 7, 31, 32, 63, 255, -128, 0x7fff_ffff, -0x8000_0000];
const immediate = (): number => (random(2) === 0 ? pick(IMMEDIATES) : (random(2 ** 31) * 2) | 0);

/** One instruction of arithmetic that the verifier lets through. */
function arithmetic(): Instruction {
  const dst = random(FREE);
  const src = random(FREE);
  const wide = random(2) === 0 ? 7 : 4;
  const isRegister = random(2) === 0;
  switch (random(14)) {
    case 0:
      return instruction(wide | 0x80, dst);
    case 1:
      return instruction(random(2) === 0 ? 0xd4 : 0xdc, dst, 0, 0, pick([16, 32, 64]));
    case 2:
      return instruction(0xd7, dst, 0, 0, pick([16, 32, 64]));
    case 3:
      return instruction(wide | 0xb8, dst, src, wide === 7 ? pick([8, 16, 32]) : pick([8, 16]));
    case 4:
    case 5: {
      const op = pick([0x60, 0x70, 0xc0]);
      if (isRegister) return instruction(wide | op | 8, dst, src);
      return instruction(wide | op, dst, 0, 0, random(wide === 7 ? 64 : 32));
    }
    case 6:
    case 7: {
      const op = pick([0x30, 0x90]);
      const signed = random(2);
      if (isRegister) return instruction(wide | op | 8, dst, src, signed);
      return instruction(wide | op, dst, 0, signed, immediate() || 3);
    }
    default: {
      const op = pick([0x00, 0x10, 0x20, 0x40, 0x50, 0xa0, 0xb0]);
      return isRegister ? instruction(wide | op | 8, dst, src) : instruction(wide | op, dst, 0, 0, immediate());
    }
  }
}

const RMW = [AtomicOp.add, AtomicOp.or, AtomicOp.and, AtomicOp.xor];

/** One access of the stack, the packet or the map's value. */
function access(): Instruction {
  const [base, first, size] = pick([
    [10, -8 * SLOTS, 8 * SLOTS],
    [8, 0, PACKET],
    [9, 0, VALUE],
  ] as const);
  const register = random(FREE);
  const bits = pick([0x00, 0x08, 0x10, 0x18]);
  const bytes = bits === 0x18 ? 8 : bits === 0 ? 4 : bits === 8 ? 2 : 1;
  const offset = first + bytes * random(Math.floor(size / bytes));
  switch (random(base === 8 ? 4 : 6)) {
    case 0:
      return instruction(0x61 | bits, register, base, offset);
    case 1:
      return instruction(0x62 | bits, base, 0, offset, immediate());
    case 2:
      return instruction(0x63 | bits, base, register, offset);
    case 3:
      return bits === 0x18
        ? instruction(0x79, register, base, offset)
        : instruction(0x81 | bits, register, base, offset);
    default: {
      const wide = bytes === 8 ? 0xdb : 0xc3;
      const at = first + (bytes === 8 ? 8 : 4) * random(Math.floor(size / (bytes === 8 ? 8 : 4)));
      // Linux 6.18 does not follow where the value came from that an operation fetches from the stack: it prunes a path
      // that it should not, and removes a branch that is taken. So only the map's value is fetched from.
      if (base === 10) return instruction(wide, base, register, at, pick(RMW));
      const op = random(3) === 0 ? pick([AtomicOp.xchg, AtomicOp.cmpxchg]) : pick(RMW) | (random(2) * ATOMIC_FETCH);
      return instruction(wide, base, register, at, op);
    }
  }
}

/** A random program, the same for any map. */
function randomProgram(): (map: MapReference) => Instruction[] {
  const body: ProgramItem[] = [];
  const count = 10 + random(50);
  const calls = random(3) === 0;
  for (let i = 0; i < count; i++) {
    if (random(6) === 0) {
      // Forward jumps only: the verifier wants an end.
      const op = pick([0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0]);
      const kind = pick([5, 6]);
      const reference = `l${i + 1 + random(Math.min(6, count - i))}`;
      const isRegister = random(2) === 0;
      const dst = random(FREE);
      const imm = isRegister ? 0 : immediate();
      body.push(
        label(`l${i}`),
        instruction(kind | op | (isRegister ? 8 : 0), dst, isRegister ? random(FREE) : 0, 0, imm, 0, { reference }),
      );
    } else if (calls && random(8) === 0) {
      body.push(label(`l${i}`), instruction(0x85, 0, 1, 0, 0, 0, { reference: "function" }));
      // What a call has clobbered has to be written again.
      for (let register = 1; register <= 5; register++)
        body.push(mov(registers[register]!, pick([r0, registers[6]!, registers[7]!])));
    } else body.push(label(`l${i}`), random(3) === 0 ? access() : arithmetic());
  }
  const inside = Array.from({ length: 6 }, () => arithmetic());
  return (map) =>
    program(
      load("u32", r8, r1, 0),
      load("u32", r3, r1, 4),
      mov(r2, r8),
      add(r2, PACKET),
      jgt(r2, r3, "short"),
      ldMapValue(r9, map, 0),
      ...Array.from({ length: SLOTS }, (_, i) => [
        load("u64", r0, r9, 8 * i),
        store("u64", r10, -8 * (i + 1), r0),
      ]).flat(),
      ...Array.from({ length: FREE }, (_, i) => load("u64", registers[i]!, r9, 8 * i)),
      ...body,
      label(`l${count}`),
      ...Array.from({ length: FREE }, (_, i) => store("u64", r9, OUTPUT + 8 * i, registers[i]!)),
      load("u64", r1, r10, -8),
      store("u64", r9, OUTPUT + 8 * FREE, r1),
      exit(),
      label("short"),
      mov(r0, 0),
      exit(),
      ...(calls
        ? [
            label("function"),
            mov(r0, r1),
            ...[6, 7].map((i) => mov(registers[i]!, registers[i - 3]!)),
            ...inside,
            exit(),
          ]
        : []),
    );
}

const EDGES = [0n, 1n, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 1n << 63n, (1n << 64n) - 1n, 0x0123_4567_89ab_cdefn];
function randomBytes(size: number): Uint8Array {
  const words = new BigUint64Array(size / 8);
  for (let i = 0; i < words.length; i++) {
    words[i] = random(2) === 0 ? pick(EDGES) : (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32));
  }
  return new Uint8Array(words.buffer);
}

requires(
  test,
  "bpf",
  "net-admin",
)("random programs come to the same end as in the kernel", () => {
  using map = createMap({ type: "array", value: VALUE, maxEntries: 1 });
  const machine = createMachine({ maps: { value: { type: "array", value: VALUE, maxEntries: 1 } } });
  const restore = machine.snapshot();
  const wanted = rounds(300, 100_000);
  let refused = 0;
  let agreed = 0;
  for (let i = 0; i < wanted; i++) {
    const make = randomProgram();
    let loaded: ReturnType<typeof loadProgram>;
    try {
      loaded = loadProgram({ type: "xdp", instructions: make(map), license: "GPL" });
    } catch (error) {
      if (!(error instanceof VerifierError)) throw error;
      refused++;
      continue;
    }
    using kernel = loaded;
    restore();
    const instructions = make(machine.maps.value);
    const value = randomBytes(VALUE);
    const data = randomBytes(PACKET);
    map.set(0, value);
    machine.maps.value.set(0, value);
    const expected = kernel.run({ data });
    const found = machine.load({ type: "xdp", instructions }).run({ data });
    const where = (): string => `program ${i}:\n${print(instructions)}`;
    assert.is(found.returnValue, expected.returnValue, where());
    assert.equal(found.data, expected.data, where());
    assert.equal(machine.maps.value.get(0), map.get(0), where());
    agreed++;
  }
  console.log(`NOTE machine and kernel agree on ${agreed} random programs; the verifier refused ${refused}`);
  assert.ok(agreed > wanted / 2, `${agreed} of ${wanted}`);
});

test.run();
