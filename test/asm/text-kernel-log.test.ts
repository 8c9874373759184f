import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  assemble,
  distanceField,
  encode,
  exit,
  type Instruction,
  LD_IMM64,
  mov,
  operation,
  printInstruction,
  r0,
  r1,
  r6,
  r10,
  registers,
  store,
} from "../../src/asm/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { loadProgram, VerifierError } from "../../src/programs/index.ts";
import { failOnLeaks, requires, rounds, toolPath } from "../support/harness.ts";
import { random, randomInstruction } from "../support/instructions.ts";

const test = suite("asm text against the verifier log");
failOnLeaks(test);
const onKernel = requires(test, "linux", "bpf", "koffi");

/** The lines of a verifier log that are instructions, by slot, without the states behind them. */
function logged(log: string): Map<number, string> {
  const found = new Map<number, string>();
  for (const line of log.split("\n")) {
    const match = /^(\d+): (\([0-9a-f]{2}\) .*?)(?:\s*;.*)?$/.exec(line);
    if (match !== null && !found.has(Number(match[1]))) found.set(Number(match[1]), match[2]!);
  }
  return found;
}

function logOf(instructions: readonly Instruction[]): string {
  try {
    const program = loadProgram({ type: "socket_filter", instructions, license: "GPL" }, { logLevel: 2 });
    const { log } = program;
    program.close();
    return log;
  } catch (error) {
    if (!(error instanceof VerifierError)) throw error;
    return error.log;
  }
}

/** What comes before the instruction under test: all registers and some stack hold something. */
const BEFORE = [
  mov(r6, r1),
  store("u64", r10, -8, 0),
  ...registers.filter(({ number }) => number !== 6 && number !== 10).map((register) => mov(register, 0)),
];

/** Pseudo sources are printed as run-time addresses. */
function hasOwnSpelling(insn: Instruction): boolean {
  return insn.opcode === LD_IMM64 && insn.src !== 0;
}

onKernel("each instruction is printed as the verifier prints it", () => {
  const from = random(20251123);
  const wanted = rounds(1500, 20_000);
  let compared = 0;
  for (let i = 0; i < wanted; i++) {
    const given = randomInstruction(from);
    if (hasOwnSpelling(given)) continue;
    const field = distanceField(given);
    const insn = field === "none" ? given : { ...given, [field]: given[field] & 7 };
    const after = Array.from({ length: 9 }, () => mov(r0, 0));
    const line = logged(logOf([...BEFORE, insn, ...after, exit()])).get(BEFORE.length);
    // Some are refused before the verifier walks the program, and then nothing is printed.
    if (line === undefined) continue;
    const text = printInstruction(insn, { style: "kernel" });
    // A kernel function is printed by its name and id, and these ids are of none.
    if (operation(insn).kind === "call-kfunc") continue;
    assert.is(text, line.slice(5), toHex(encode([insn])));
    compared++;
  }
  assert.ok(compared > wanted / 3, `${compared}`);
  console.log(`\nNOTE the verifier log agrees on ${compared} of ${compared} instructions it prints`);
});

/** Exercises what a log shows: branches, helpers, calls, 64-bit constants, 32-bit arithmetic, the stack. */
const PROGRAM = `
    r6 = r1
    r7 = 0x1122334455667788 ll
    *(u64 *)(r10 - 8) = r7
    w8 = 5
    r1 = *(s16 *)(r10 - 8)
    r1 = be32 r1
    w1 s>>= 3
    lock *(u64 *)(r10 - 8) += r1
    r1 = atomic_fetch_or((u64 *)(r10 - 8), r1)
    call bpf_ktime_get_ns
    if r0 s> -7 goto small
    if w0 != 0xfffffff0 goto small
    r0 = 5 ll
  small:
    r1 = r0
    call double
    if r0 & 8 goto +1
    r0 = 0
    exit
  double:
    r0 = r1
    r0 += r1
    r0 s/= -3
    exit
`;

onKernel("a verifier log is read back, with its states and comments", () => {
  const instructions = assemble(PROGRAM);
  const log = logOf(instructions);
  const first = new Set<string>();
  const lines = log.split("\n").filter((line) => {
    const slot = /^(\d+): \([0-9a-f]{2}\) /.exec(line)?.[1];
    if (slot === undefined || first.has(slot)) return false;
    first.add(slot);
    return true;
  });
  // The verifier goes its own way through the program.
  lines.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  assert.is(lines.length, instructions.length, log);
  const text = lines.join("\n");
  assert.is(toHex(encode(assemble(text))), toHex(encode(instructions)), text);
  assert.is(toHex(encode(assemble(text, { style: "kernel" }))), toHex(encode(instructions)));
});

requires(
  test,
  "linux",
  "bpf",
  "koffi",
  "tool:bpftool",
)("what bpftool dumps is read back", () => {
  const instructions = assemble(PROGRAM.replaceAll("r0 s/= -3", "r0 += -3"));
  const program = loadProgram({ type: "socket_filter", instructions, license: "GPL" });
  try {
    const id = /^prog_id:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${program.fd}`, "utf8"))![1]!;
    const dump = execFileSync(toolPath("bpftool")!, ["prog", "dump", "xlated", "id", id], {
      encoding: "utf8",
    });
    const again = assemble(dump.replace(/^.*:$/gm, ""), { style: "kernel" });
    assert.is(toHex(encode(again)), toHex(encode(instructions)), dump);
  } finally {
    program.close();
  }
});

test.run();
