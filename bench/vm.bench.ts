import { assemble } from "../src/asm/index.ts";
import { loadProgram } from "../src/programs/index.ts";
import { createMachine } from "../src/vm/index.ts";
import { compare, type Report, short, time } from "./report.ts";

/** Times round each loop: as many as the verifier walks through without giving up. */
const ROUNDS = 1000;
const REPEAT = short ? 20 : 200;

const LOOPS: Readonly<Record<string, string>> = {
  alu: `
    r0 = 1
    r6 = 0
  loop:
    r1 = 0x9e3779b97f4a7c15 ll
    r0 += r1
    r2 = r0
    r3 = r2
    r3 >>= 30
    r2 ^= r3
    r1 = 0xbf58476d1ce4e5b9 ll
    r2 *= r1
    r0 ^= r2
    r6 += 1
    if r6 < ${ROUNDS} goto loop
    r0 = 0
    exit`,
  alu32: `
    w0 = 1
    w6 = 0
  loop:
    w1 = w0
    w1 <<= 13
    w0 ^= w1
    w1 = w0
    w1 >>= 17
    w0 ^= w1
    w6 += 1
    if w6 < ${ROUNDS} goto loop
    w0 = 0
    exit`,
  mem: `
    r0 = 0
    r6 = 0
    *(u64 *)(r10 - 8) = r0
    *(u64 *)(r10 - 16) = r0
  loop:
    r1 = *(u32 *)(r10 - 8)
    r2 = *(u16 *)(r10 - 12)
    r1 += r2
    *(u32 *)(r10 - 8) = r1
    r3 = *(u8 *)(r10 - 3)
    *(u64 *)(r10 - 16) = r3
    r6 += 1
    if r6 < ${ROUNDS} goto loop
    r0 = 0
    exit`,
};

/** Nanoseconds for each instruction in the machine, beside the kernel that has compiled the same program. */
export async function run(report: Report): Promise<void> {
  const machine = createMachine();
  const data = new Uint8Array(64);
  for (const [name, text] of Object.entries(LOOPS)) {
    const instructions = assemble(text);
    const ours = machine.load({ type: "socket_filter", instructions });
    using theirs = loadProgram({ type: "socket_filter", instructions, license: "GPL" });
    const count = ours.run({ data }).duration;
    const { median, ratio } = await compare<"machine" | "kernel">(
      {
        machine: () => time(() => ours.run({ data, repeat: REPEAT })) / REPEAT / count,
        kernel: () => theirs.run({ data, repeat: 100 * REPEAT }).duration / count,
      },
      "kernel",
    );
    report({
      name: `interpreted instruction, ${name}`,
      value: median.machine,
      unit: "ns",
      peer: "the kernel's compiler",
      peerValue: median.kernel,
      ratio: ratio.machine,
      aim: "<= 4 ns",
    });
  }
}
