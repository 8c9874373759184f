import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  assemble,
  decode,
  distanceField,
  encode,
  exit,
  findHelper,
  type Instruction,
  LD_IMM64,
  ldImm64,
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
import { failOnLeaks, requires, rounds } from "../support/harness.ts";
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

test.run();
void assemble;
void decode;
void findHelper;
void ldImm64;
