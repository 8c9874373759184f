import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  callLocal,
  controlFlow,
  distanceField,
  exit,
  type Instruction,
  mov,
  operation,
  program,
  r0,
  r1,
  r6,
  r10,
  registers,
  STACK_LIMIT,
  stackUse,
  store,
  subprogram,
} from "../../src/asm/index.ts";
import { loadProgram, VerifierError } from "../../src/programs/index.ts";
import { failOnLeaks, requires, rounds } from "../support/harness.ts";
import { ENCODINGS } from "./table.ts";

const test = suite("asm against the kernel");
failOnLeaks(test);
const onKernel = requires(test, "linux", "bpf", "koffi");

/** What the kernel says of an instruction that is none, as opposed to one that makes no sense where it stands. */
const MALFORMED =
  /unknown opcode|unknown insn|unknown atomic|reserved field|R\d+ is invalid$|^(Invalid|invalid) (atomic|BPF_|bpf_ld_imm64)|unrecognized bpf_ld_imm64|BPF_\w+ (uses|opcode)|invalid BPF_/m;

/** Loads a socket filter around one instruction; says whether the kernel took it, and what it said. */
function verdict(given: Instruction): { accepted: boolean; malformed: boolean; log: string } {
  const field = distanceField(given);
  // A distance that leads somewhere.
  const insn = field === "none" ? given : { ...given, [field]: given[field] & 7 };
  const instructions = [
    mov(r6, r1),
    store("u64", r10, -8, 0),
    ...registers.filter(({ number }) => number !== 6 && number !== 10).map((register) => mov(register, 0)),
    insn,
    ...Array.from({ length: 8 }, () => mov(r0, 0)),
    exit(),
  ];
  try {
    loadProgram({ type: "socket_filter", instructions, license: "GPL" }).close();
    return { accepted: true, malformed: false, log: "" };
  } catch (error) {
    if (!(error instanceof VerifierError)) throw error;
    return { accepted: false, malformed: MALFORMED.test(error.log), log: error.log };
  }
}

/** Instructions that are well formed and refused all the same: by every kernel, or by this one. */
const NOT_HERE = new Set(["callx", "gotox", "mov-percpu", "call-kfunc"]);

onKernel("the kernel knows every encoding", () => {
  const unknown: string[] = [];
  let accepted = 0;
  for (const { hex, instruction: insn, operation: op } of ENCODINGS) {
    const found = verdict(insn);
    if (found.accepted) accepted++;
    else if (found.malformed && !NOT_HERE.has(op.kind)) unknown.push(`${hex}: ${found.log.trim().split("\n").at(-2)}`);
  }
  assert.equal(unknown, []);
  console.log(
    `\nNOTE the kernel takes ${accepted} of ${ENCODINGS.length} encodings as they stand, and knows the others`,
  );
});

onKernel("what this decoder calls malformed, the kernel refuses", () => {
  const mutation = fc.oneof(
    fc.record({ dst: fc.constantFrom(0, 1, 2, 6, 10, 11, 15) }),
    fc.record({ src: fc.constantFrom(0, 1, 2, 3, 6, 10, 11, 15) }),
    fc.record({ offset: fc.constantFrom(0, 1, 2, -1, 8, 16, 32, -8) }),
    fc.record({
      imm: fc.constantFrom(0, 1, 2, -1, 5, 8, 16, 32, 64, 0x40, 0x41, 0xa1, 0xe1, 0xf1, 0x100, 0x110, 0x111),
    }),
    fc.record({ opcode: fc.nat(255).filter((opcode) => opcode !== 0x18) }),
  );
  const narrow = ENCODINGS.filter(({ instruction: insn }) => insn.opcode !== 0x18);
  const random = fc
    .tuple(fc.constantFrom(...narrow), fc.array(mutation, { maxLength: 2 }))
    .map(([encoding, changes]): Instruction => Object.assign({ ...encoding.instruction }, ...changes));
  const tooStrict: string[] = [];
  const tooLenient = new Map<string, string>();
  let malformed = 0;
  let wellFormed = 0;
  fc.assert(
    fc.property(random, (insn) => {
      const op = operation(insn);
      const found = verdict(insn);
      const text = JSON.stringify(insn);
      if (op.kind === "invalid" && found.accepted) tooStrict.push(text);
      else if (op.kind !== "invalid" && found.malformed && !NOT_HERE.has(op.kind))
        tooLenient.set(op.kind, `${text} ${found.log}`);
      else if (op.kind === "invalid") malformed++;
      else wellFormed++;
    }),
    { numRuns: rounds(700, 20_000) },
  );
  assert.equal(tooStrict, []);
  assert.equal([...tooLenient.values()], []);
  console.log(`\nNOTE ${wellFormed} instructions are well formed for both, ${malformed} for neither`);
});

/** One function that writes at some places of its frame, straight or over moved copies of r10. */
const frames = fc.array(
  fc.tuple(fc.integer({ min: 1, max: 64 }), fc.integer({ min: -8, max: 8 }), fc.constantFrom(2, 3, 4, 10)),
  { maxLength: 4 },
);

function body(writes: readonly (readonly [number, number, number])[]): Instruction[] {
  return writes.flatMap(([slot, moved, number]) => {
    const register = registers[number]!;
    if (number === 10) return [store("u64", r10, -8 * slot, 0)];
    // Somewhere else first, then to its place by an offset.
    return [mov(register, r10), add(register, -8 * (slot + moved)), store("u64", register, 8 * moved, 0)];
  });
}

onKernel("the kernel counts as much stack as we do", () => {
  let agree = 0;
  let refused = 0;
  fc.assert(
    fc.property(fc.array(frames, { minLength: 1, maxLength: 4 }), (functions) => {
      const instructions = program(
        functions.map((writes, index) =>
          subprogram(
            `f${index}`,
            body(writes),
            // Each calls one or two that come after it.
            functions.slice(index + 1, index + 3).map((_, next) => callLocal(`f${index + 1 + next}`)),
            mov(r0, 0),
            exit(),
          ),
        ),
      );
      const use = stackUse(controlFlow(instructions));
      assert.ok(use.exact);
      let log: string;
      try {
        const loaded = loadProgram({ type: "socket_filter", instructions, license: "GPL" }, { logLevel: 4 });
        log = loaded.log;
        loaded.close();
      } catch (error) {
        if (!(error instanceof VerifierError)) throw error;
        assert.match(error.log, /combined stack size of \d+ calls is (\d+)\. Too large/);
        assert.ok(use.rounded! > STACK_LIMIT, `${use.rounded}: ${error.log}`);
        refused++;
        return;
      }
      assert.ok(use.rounded! <= STACK_LIMIT);
      assert.is(/stack depth ([\d+]+)/.exec(log)?.[1], use.frames.map((frame) => frame.bytes).join("+"));
      agree++;
    }),
    { numRuns: rounds(100, 3000) },
  );
  console.log(`\nNOTE ${agree} programs use as much stack for the kernel as for us, ${refused} too much for both`);
});

test.run();
