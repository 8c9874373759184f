import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  callLocal,
  concat,
  controlFlow,
  decode,
  encode,
  exit,
  gotol,
  type Instruction,
  insertAt,
  ja,
  jeq,
  label,
  ldFunction,
  ldImm64,
  link,
  mov,
  operation,
  program,
  r0,
  r1,
  r9,
  removeAt,
  replaceAt,
  rewrite,
  slotsOf,
  withMeta,
} from "../../src/asm/index.ts";
import { rounds } from "../support/harness.ts";
import { refusal } from "./refusal.ts";

const test = suite("asm edit");

const labels = (instructions: readonly Instruction[]): (string | undefined)[] =>
  instructions.map((insn) => insn.meta?.labels?.join());
const distances = (instructions: readonly Instruction[]): number[] =>
  instructions.map((insn) => {
    const op = operation(insn);
    return "offset" in op ? op.offset : op.kind === "ld-imm64" && op.pseudo === "function" ? op.low : 0;
  });

// 0: jeq -> 3, 1: ld_imm64, 2: ja -> 0, 3: call -> 4, 4: gotol -> 0, 5: exit
const sample = (): Instruction[] => [
  jeq(r1, 0, 3),
  ldImm64(r0, 1),
  ja(-4),
  callLocal(0),
  gotol(-6),
  withMeta(exit(), { labels: ["out"] }),
];

test("numeric jumps lead where they led after an insertion", () => {
  const edited = insertAt(sample(), 2, [mov(r0, 7), ldImm64(r1, 2)]);
  assert.equal(distances(edited), [6, 0, 0, 0, -7, 0, -9, 0]);
  assert.equal(labels(edited).at(-1), "out");
});

test("who jumps to the place of an insertion passes it by, unless caught", () => {
  const base = program(ja(0), label("here"), mov(r0, 0), ja("here"), ja(-3));
  const passing = insertAt(base, 1, [mov(r0, 7)]);
  assert.equal(labels(passing), [undefined, undefined, "here", undefined, undefined]);
  assert.equal(distances(passing), [1, 0, 0, 0, -3]);
  const caught = insertAt(base, 1, [mov(r0, 7)], { catchJumps: true });
  assert.equal(labels(caught), [undefined, "here", undefined, undefined, undefined]);
  assert.equal(distances(caught), [0, 0, 0, 0, -4]);
  assert.equal(distances(link(caught)), [0, 0, 0, -3, -4]);
});

test("insertion at the very end and into nothing", () => {
  assert.equal(insertAt([], 0, [exit()]), [exit()]);
  assert.equal(insertAt([mov(r0, 0)], 1, [exit()]), [mov(r0, 0), exit()]);
});

test("inserted instructions jump inside themselves, to their end, or by label", () => {
  const inserted = [jeq(r0, 0, 2), ldImm64(r1, 3), ja(-4)];
  const edited = insertAt([mov(r0, 0), exit()], 1, inserted);
  assert.equal(distances(edited), [0, 2, 0, -4, 0]);
  assert.equal(distances(insertAt([mov(r0, 0), exit()], 1, [ja(1), mov(r0, 1)])), [0, 1, 0, 0]);
  // From an ld_imm64 distances count from its second slot.
  assert.equal(distances(insertAt([exit()], 0, [ldFunction(r1, 2), mov(r0, 1), exit()])), [2, 0, 0, 0]);
  const error = refusal(() => insertAt([mov(r0, 0), exit()], 1, [mov(r0, 1), ja(1)]));
  assert.is(
    error.message,
    "Jump by 1 slots leaves the new instructions (instruction 2)\nHint: Use a label to leave them",
  );
  assert.throws(() => insertAt([exit()], 0, [ldImm64(r0, 0), ja(-2)]), /Jump by -2 slots leaves/);
  assert.throws(() => insertAt([exit()], 1, [ja(0)]), /Jump leads to the end, where no instruction follows/);
});

test("what leads to a removed instruction leads to the next", () => {
  const base = program(ja(1), mov(r0, 0), label("a"), mov(r0, 1), label("b"), exit(), ja(-3));
  const edited = removeAt(base, 2);
  assert.equal(labels(edited), [undefined, undefined, "a,b", undefined]);
  assert.equal(distances(edited), [1, 0, 0, -2]);
  assert.equal(removeAt(base, 1, 3).length, 2);
  assert.equal(distances(removeAt(base, 1, 2)), [0, 0, -2]);
  assert.equal(removeAt(base, 0, 5), []);
});

test("nothing may lead to instructions removed at the end", () => {
  const numeric = refusal(() => removeAt([ja(0), exit()], 1));
  assert.is(numeric.message, "Jump leads to instruction 1, in removed instructions at the end (instruction 0)");
  assert.is(numeric.code, "ERR_ASM_LABEL");
  const symbolic = refusal(() => removeAt(program(ja("out"), label("out"), exit()), 1));
  assert.is(symbolic.message, 'The edit removes the place of label "out" (instruction 0)');
  assert.equal(removeAt(program(mov(r0, 0), label("unused"), exit()), 1), [mov(r0, 0)]);
});

test("a replacement takes labels, jumps and source line", () => {
  const source = { file: "a.c", line: 3, column: 1, text: "x = 1;" };
  const own = { file: "b.c", line: 9, column: 1, text: "y = 2;" };
  const base = program(ja(0), label("x"), withMeta(mov(r0, 1), { source }), exit(), ja("x"), ja(-4));
  const edited = replaceAt(base, 1, 1, [ldImm64(r0, 1), withMeta(add(r0, 1), { source: own })]);
  assert.equal(labels(edited), [undefined, "x", undefined, undefined, undefined, undefined]);
  assert.equal(
    edited.map((insn) => insn.meta?.source),
    [undefined, source, own, undefined, undefined, undefined],
  );
  assert.equal(distances(edited), [0, 0, 0, 0, 0, -6]);
  assert.equal(replaceAt(base, 1, 1, []), removeAt(base, 1));
  assert.equal(replaceAt(base, 1, 0, [mov(r0, 9)]).length, 6);
});

test("a changed copy in place of the original jumps where the original did", () => {
  const base = sample();
  const edited = replaceAt(base, 0, 1, [jeq(r1, 5, 3)]);
  assert.equal(distances(edited), distances(base));
  const copied = replaceAt(base, 5, 1, [withMeta(base[5]!, { source: { file: "", line: 1, column: 0, text: "" } })]);
  assert.equal(labels(copied).at(-1), "out");
});

test("nothing may lead to the middle of what is replaced", () => {
  const numeric = refusal(() => replaceAt([ja(1), mov(r0, 0), mov(r0, 1), exit()], 1, 2, [mov(r0, 2)]));
  assert.is(numeric.message, "Jump leads to instruction 2, in the middle of the replaced instructions (instruction 0)");
  const base = program(ja("m"), mov(r0, 0), label("m"), mov(r0, 1), exit());
  const symbolic = refusal(() => replaceAt(base, 1, 2, [mov(r0, 2)]));
  assert.is(symbolic.message, 'The edit removes the place of label "m" (instruction 0)');
  assert.equal(replaceAt(base, 0, 3, [mov(r0, 2)]).length, 2, "the jump goes too");
});

test("programs one behind the other keep their jumps", () => {
  const joined = concat(sample(), sample(), []);
  assert.equal(joined, [...sample(), ...sample()]);
  decode(encode(joined));
  assert.throws(() => link(joined), /Label "out" is already defined at instruction 5/);
});

test("a whole program is rewritten in one go", () => {
  const base = sample();
  const counted = rewrite(base, (insn) => [add(r9, 1), insn]);
  assert.is(counted.length, 12);
  const flow = controlFlow(counted);
  assert.equal(
    flow.blocks.map((block) => block.start).filter((start) => start % 2 !== 0),
    [],
    "every jump leads to a count",
  );
  assert.equal(
    rewrite(base, (insn) => insn),
    base,
  );
  assert.equal(labels(counted).indexOf("out"), 10);
  const thinned = rewrite(base, (insn, index) => (index === 1 ? [] : insn));
  assert.equal(distances(thinned), [1, -2, 0, -4, 0]);
});

test("an edit that pushes a jump too far makes it long", () => {
  const many = Array.from({ length: 40000 }, () => mov(r0, 0));
  const edited = insertAt([jeq(r1, 0, 0), exit()], 1, many);
  assert.equal(
    edited.slice(0, 2).map((insn) => operation(insn).kind),
    ["jump", "gotol"],
  );
  assert.is(edited[1]!.imm, 40000);
  const error = refusal(() => insertAt([ja(0), exit()], 1, many, { cpu: "v3" }));
  assert.is(error.problems[0]!.message, "Jump spans 40000 slots, more than 16 bits hold");
});

test("a program with a jump that leads nowhere is not edited", () => {
  assert.throws(() => insertAt([ja(9), exit()], 1, [mov(r0, 0)]), /^Jump to slot 10 leaves the program/);
  assert.throws(() => removeAt([ja(1), ldImm64(r0, 0), exit()], 2), /lands in the second half/);
});

test("places outside of the program are RangeErrors", () => {
  assert.throws(() => insertAt([exit()], 2, []), /^Index 2 is not in 0 to 1/);
  assert.throws(() => removeAt([exit()], 0, 2), /^Count 2 is not in 0 to 1/);
  assert.throws(() => replaceAt([exit()], -1, 1, []), RangeError);
  assert.throws(() => removeAt([exit()], 0.5), RangeError);
});

/** Programs in which every instruction can be told by its number, and every jump's goal by the number in its source. */
const programs = fc.array(fc.tuple(fc.nat(7), fc.nat(1000)), { minLength: 1, maxLength: 40 }).map((list) => {
  const size = list.map(([kind]) => (kind === 5 || kind === 6 ? 2 : 1));
  const slot = size.map((_, i) => size.slice(0, i).reduce((a, b) => a + b, 0));
  return list.map(([kind, to], i): Instruction => {
    const goal = to % list.length;
    const distance = slot[goal]! - slot[i]! - 1;
    const made =
      [ja, gotol, callLocal, (d: number) => jeq(r1, 0, d)][kind]?.(distance) ??
      (kind === 5 ? ldFunction(r1, distance) : kind === 6 ? ldImm64(r0, i) : mov(r0, i));
    return withMeta(made, {
      source: { file: "", line: i + 1, column: kind < 4 || kind === 5 ? goal + 1 : 0, text: "" },
    });
  });
});

/** Number of the original instruction that each original jump leads to, read from the edited program. */
function goals(instructions: readonly Instruction[]): Map<number, number> {
  const at: number[] = [];
  let slot = 0;
  for (const insn of instructions) {
    at.push(slot);
    slot += slotsOf(insn);
  }
  const found = new Map<number, number>();
  for (const [index, insn] of instructions.entries()) {
    const source = insn.meta?.source;
    if (source === undefined || source.column === 0) continue;
    const target = at.indexOf(at[index]! + 1 + distances([insn])[0]!);
    found.set(source.line, target);
  }
  return found;
}

test("after any insertions and removals every jump leads to the same instruction, or its successor", () => {
  const edit = fc.tuple(fc.nat(1000), fc.nat(3), fc.boolean());
  fc.assert(
    fc.property(programs, fc.array(edit, { maxLength: 6 }), (original, edits) => {
      let edited = original;
      for (const [where, count, remove] of edits) {
        if (remove) {
          const index = where % (edited.length + 1);
          try {
            edited = removeAt(edited, index, Math.min(count, edited.length - index));
          } catch (error) {
            assert.match((error as Error).message, /removed instructions at the end/);
          }
        } else {
          const inserted = Array.from({ length: count }, () => ldImm64(r9, 5));
          edited = insertAt(edited, where % (edited.length + 1), inserted);
        }
      }
      decode(encode(edited));
      const left = edited.map((insn) => insn.meta?.source?.line ?? 0);
      for (const [line, target] of goals(edited)) {
        const wanted = original[line - 1]!.meta!.source!.column;
        // The goal itself, else what now stands where it was: the first original instruction behind it, if any is left.
        const expected = left.find((other) => other >= wanted);
        const arrived = left.slice(target).find((other) => other !== 0);
        assert.is(arrived, expected);
        if (left.includes(wanted)) assert.is(left[target], wanted);
      }
    }),
    { numRuns: rounds(1000, 30_000) },
  );
});

test.run();
