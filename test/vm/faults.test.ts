import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, exit, type Instruction, instruction, mov, r0 } from "../../src/asm/index.ts";
import { u32, u64 } from "../../src/bytes/index.ts";
import { BpfError } from "../../src/errors.ts";
import type { ProgType } from "../../src/kernel-abi/index.ts";
import { createMachine, MachineFault } from "../../src/vm/index.ts";
import { rounds } from "../support/harness.ts";

const test = suite("vm/faults");

const machine = createMachine({
  maps: {
    counts: { type: "array", value: u64, maxEntries: 2 },
    table: { type: "hash", key: u32, value: 6, maxEntries: 4 },
    ring: { type: "ringbuf", maxEntries: 4096 },
    ro: { type: "array", value: u64, maxEntries: 1, flags: 0x80 },
  },
  limits: { instructions: 10_000 },
});

function faultOf(text: string, type: ProgType = "xdp"): MachineFault {
  const program = machine.load({ type, instructions: assemble(text), name: "p" });
  try {
    program.run();
  } catch (error) {
    if (error instanceof MachineFault) return error;
    throw error;
  }
  throw new Error(`no fault: ${text}`);
}

const LOOKUP = (map: string): string => `
  *(u32 *)(r10 - 4) = 0
  r2 = r10
  r2 += -4
  r1 = ${map} ll
  call map_lookup_elem
`;

const cases: Record<string, readonly [text: string, reason: string, type?: ProgType]> = {
  "a read past the end of the packet": [
    "r1 = *(u32 *)(r1 + 0)\nr0 = *(u32 *)(r1 + 62)\nexit",
    "read past packet end: offset 62, size 4, packet 64",
  ],
  "a read far past the end of the packet": [
    "r1 = *(u32 *)(r1 + 0)\nr0 = *(u64 *)(r1 + 1000)\nexit",
    "read past packet end: offset 1000, size 8, packet 64",
  ],
  "a write before the packet": [
    "r1 = *(u32 *)(r1 + 0)\n*(u8 *)(r1 - 1) = 0\nexit",
    "write before the packet: offset -1, size 1",
  ],
  "a write to a packet of a type that may only read": [
    "r1 = *(u32 *)(r1 + 76)\n*(u8 *)(r1 + 0) = 0\nexit",
    "write of the packet is not allowed: offset 0, size 1",
    "cgroup_skb",
  ],
  "a null pointer": ["r1 = 0\nr0 = *(u32 *)(r1 + 8)\nexit", "read through a null pointer: offset 8, size 4"],
  "a null pointer before a structure": [
    "r1 = 0\nr0 = *(u32 *)(r1 - 8)\nexit",
    "read through a null pointer: offset -8, size 4",
  ],
  "stack that was not written": ["r0 = *(u64 *)(r10 - 16)\nexit", "read of uninitialized stack: offset -16, size 8"],
  "stack that was partly written": [
    "*(u32 *)(r10 - 16) = 1\nr0 = *(u64 *)(r10 - 16)\nexit",
    "read of uninitialized stack: offset -16, size 8",
  ],
  "below the stack": ["*(u64 *)(r10 - 520) = 0\nexit", "write outside of the stack of 512 bytes: offset -520, size 8"],
  "above the stack": ["*(u64 *)(r10 + 0) = 0\nexit", "write above the stack frame: offset 0, size 8"],
  "past the value of a map": [
    `${LOOKUP("counts")} r0 = *(u32 *)(r0 + 8)\nexit`,
    'read outside of the value of map "counts" of 8 bytes: offset 8, size 4',
  ],
  "past a value with padding": [
    `r1 = table ll\n*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr3 = r10\nr3 += -16\n*(u64 *)(r10 - 16) = 0\nr4 = 0\ncall map_update_elem
     ${LOOKUP("table")} r0 = *(u32 *)(r0 + 4)\nexit`,
    'read outside of the value of map "table" of 6 bytes: offset 4, size 4',
  ],
  "a value that may be null": [
    `r1 = table ll\n*(u32 *)(r10 - 4) = 9\nr2 = r10\nr2 += -4\ncall map_lookup_elem\nr0 = *(u32 *)(r0 + 0)\nexit`,
    "read through a null pointer: offset 0, size 4",
  ],
  "a map that programs may only read": [
    `${LOOKUP("ro")} *(u32 *)(r0 + 0) = 1\nexit`,
    'write of the value of map "ro" is not allowed: offset 0, size 4',
  ],
  "the memory of a map itself": [
    "r1 = counts ll\nr0 = *(u64 *)(r1 + 0)\nexit",
    "read through a pointer to a map, size 8",
  ],
  "a record after it was submitted": [
    `r1 = ring ll\nr2 = 16\nr3 = 0\ncall ringbuf_reserve\nr6 = r0\n*(u64 *)(r6 + 0) = 1\nr1 = r6\nr2 = 0\ncall ringbuf_submit
     r0 = *(u64 *)(r6 + 0)\nexit`,
    'read of a record of map "ring" after it was given back: offset 8, size 8',
  ],
  "a register that a call has clobbered": [
    "call ktime_get_ns\nr0 = *(u64 *)(r3 + 0)\nexit",
    "read through r3, which was never written or was lost in a call",
  ],
  "a field of the context that is not there": [
    "r0 = *(u32 *)(r1 + 24)\nexit",
    "read outside of xdp_md of 24 bytes: offset 24, size 4",
  ],
  "a field of the context that it may not write": [
    "*(u32 *)(r1 + 0) = 0\nexit",
    "invalid access to context xdp_md: write of offset 0, size 4",
  ],
  "a number that is no pointer": [
    "r1 = 0x1234567890 ll\nr0 = *(u8 *)(r1 + 0)\nexit",
    "read at 0x1234567890, size 1: no address of the machine",
  ],
  "the key of a helper": [
    "r1 = counts ll\nr2 = 0\ncall map_lookup_elem\nexit",
    "map_lookup_elem: read through a null pointer: offset 0, size 4",
  ],
  "a map that is none": ["r1 = 5\nr2 = r10\ncall map_lookup_elem\nexit", "map_lookup_elem: r1 is no pointer to a map"],
  "an exit with nothing in r0": ["exit", "exit with nothing in r0"],
  "stack of a function that has returned": [
    "call f\nr0 = *(u64 *)(r0 + 0)\nexit\nf: r0 = r10\nr0 += -8\n*(u64 *)(r0 + 0) = 1\nexit",
    "read of the stack of a function that has returned",
  ],
  "functions that call themselves": ["call f\nexit\nf: call f\nexit", "the call stack of 9 frames is too deep"],
};
for (const [name, [text, reason, type]] of Object.entries(cases)) {
  test(name, () => {
    const fault = faultOf(text, type);
    assert.is(fault.reason, reason);
    assert.is(fault.code, "ERR_VM_FAULT");
    assert.is(fault.place?.program, "p");
  });
}

test("a fault tells the place, the registers and the access", () => {
  const fault = faultOf("r6 = 7\nr1 = *(u32 *)(r1 + 0)\nr0 = *(u32 *)(r1 + 62)\nexit");
  assert.is(fault.place?.instruction, 2);
  assert.is(fault.place?.registers[6], 7n);
  assert.is(fault.access?.size, 4);
  assert.is(fault.access?.region, "the packet");
  assert.is(
    fault.message,
    'read past packet end: offset 62, size 4, packet 64 (instruction 2 of "p": w0 = *(u32 *)(r1 + 62))',
  );
});

test("a helper that the machine does not have", () => {
  const fault = faultOf("call get_task_stack\nexit");
  assert.is(fault.code, "ERR_VM_HELPER");
  assert.is(fault.reason, "the machine has no helper get_task_stack");
});

test("a loop without end is ended", () => {
  const fault = faultOf("loop: goto loop");
  assert.is(fault.code, "ERR_VM_BUDGET");
  assert.is(fault.reason, "the program has used up its 10000 instructions");
});

test("what no machine runs is refused when it is loaded", () => {
  const refused: Record<string, RegExp> = {
    "r10 = 1\nexit": /frame pointer is read only/,
    "callx r1\nexit": /calls through registers/,
  };
  for (const [text, message] of Object.entries(refused)) {
    assert.throws(
      () => machine.load({ type: "xdp", instructions: assemble(text) }),
      (error: Error) => error instanceof BpfError && message.test(error.message),
    );
  }
  assert.throws(
    () => machine.load({ type: "xdp", instructions: [] }),
    (error: BpfError) => error.code === "ERR_VM_PROGRAM",
  );
});

let state = 0x2545_f491;
function random(limit: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % limit;
}

test("random programs end, with a result or an error of this library", () => {
  const small = createMachine({
    maps: { a: { type: "array", value: 16, maxEntries: 3 }, h: { type: "hash", key: 4, value: 8, maxEntries: 3 } },
    limits: { instructions: 2000, memory: 1024 * 1024 },
  });
  const kinds: ProgType[] = ["xdp", "socket_filter", "sched_cls", "kprobe"];
  const outcomes: Record<string, number> = {};
  for (let i = 0; i < rounds(3000, 200_000); i++) {
    const length = 1 + random(20);
    const instructions = Array.from({ length }, (_, at) => randomInstruction(length - at));
    instructions.push(mov(r0, 0), exit());
    let outcome = "ran";
    try {
      small.load({ type: kinds[random(kinds.length)]!, instructions }).run();
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      outcome = error.code;
    }
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    if (i % 500 === 499) small.snapshot();
  }
  console.log(`NOTE random programs: ${JSON.stringify(outcomes)}`);
  assert.ok((outcomes.ran ?? 0) > 0 && (outcomes.ERR_VM_FAULT ?? 0) > 0, JSON.stringify(outcomes));
});

/** Any bits at all, or bits of a class with those fields zero that must be. */
function randomInstruction(left: number): Instruction {
  const opcode = random(256);
  const imm = random(3) === 0 ? (random(2 ** 31) * 2) | 0 : random(200);
  const far = random(65536) - 32768;
  const near = random(64) - 32;
  const dst = random(11);
  const src = random(11);
  if (random(16) === 0) return instruction(opcode, dst, src, far, imm);
  const kind = opcode & 7;
  const isRegister = (opcode & 8) !== 0;
  if (kind === 4 || kind === 7) {
    const op = opcode & 0xf0;
    if (op === 0xd0) return instruction(0xdc, dst, 0, 0, [16, 32, 64][random(3)]);
    if (op === 0x80) return instruction(kind | 0x80, dst);
    return instruction(opcode, dst, isRegister ? src : 0, 0, isRegister ? 0 : imm);
  }
  if (kind === 5 || kind === 6) {
    if (random(4) === 0) return instruction(0x85, 0, 0, 0, 1 + random(211));
    return instruction(opcode, dst, isRegister ? src : 0, random(left), isRegister ? 0 : imm);
  }
  if (kind === 0)
    return random(2) === 0 ? instruction(0x18, dst, random(3), 0, random(4)) : instruction(0x20, 0, 0, 0, imm);
  const base = random(2) === 0 ? 10 : dst;
  const size = opcode & 0x18;
  if (kind === 1) return instruction(0x61 | size, src, base, near);
  if (kind === 2) return instruction(0x62 | size, base, 0, near, imm);
  return instruction(0x63 | size, base, src, near);
}

test.run();
