import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  callKfunc,
  callLocal,
  decode,
  encode,
  exit,
  gotol,
  type Instruction,
  instruction,
  ja,
  jeq,
  jge,
  jgt,
  jle,
  jlt,
  jne,
  jset,
  jsge,
  jsgt,
  jsle,
  jslt,
  label,
  ldBtfId,
  ldFunction,
  ldImm64,
  ldMap,
  ldMapIndex,
  ldMapValue,
  link,
  mayGoto,
  mov,
  operation,
  program,
  r0,
  r1,
  r2,
  slotsOf,
  w1,
  withMeta,
} from "../../src/asm/index.ts";
import { rounds } from "../support/harness.ts";
import { refusal } from "./refusal.ts";

const test = suite("asm link");

const source = { file: "a.c", line: 7, column: 5, text: "    goto outt; // outt" };

test("labels become distances in slots", () => {
  const linked = link(
    program(
      label("start"),
      jeq(r1, 0, "out"),
      ldImm64(r0, 1),
      ja("start"),
      gotol("out"),
      mayGoto("start"),
      callLocal("out"),
      ldFunction(r1, "start"),
      label("out"),
      exit(),
    ),
  );
  assert.equal(
    linked.map((insn) => [insn.offset, insn.imm]),
    [
      [8, 0],
      [0, 1],
      [-4, 0],
      [0, 4],
      [-6, 0],
      [0, 2],
      [0, -8],
      [0, 0],
    ],
  );
  assert.ok(linked.every((insn) => insn.meta?.reference === undefined));
  assert.equal(linked[0]!.meta, { labels: ["start"] });
  decode(encode(linked));
});

test("what has no name stays the same object", () => {
  const instructions = program(mov(r0, 0), jeq(r0, 0, 1), jeq(r0, 1, "out"), label("out"), exit());
  const linked = link(instructions);
  assert.is(linked[0], instructions[0]);
  assert.is(linked[1], instructions[1]);
  assert.is(linked[3], instructions[3]);
  assert.is.not(linked[2], instructions[2]);
  assert.is(instructions[2]!.meta?.reference, "out", "the input is left as it was");
});

test("source lines, labels and relocations travel on", () => {
  const meta = { source, relocation: { kind: "core", id: 3 }, labels: ["here"] };
  const linked = link([withMeta(ja("here"), meta)]);
  assert.equal(linked, [instruction(0x05, 0, 0, -1, 0, 0, meta)]);
});

test("maps by handle and by name", () => {
  let fd = -1;
  const handle = {
    get fd(): number {
      return fd;
    },
    name: "late",
  };
  const instructions = [ldMap(r1, handle), ldMap(r1, "counts"), ldMapValue(r1, "counts", 4), ldImm64(r1, 0)];
  instructions[3] = withMeta(instructions[3]!, { reference: "counts" });
  fd = 5; // read when the program is linked, not before
  const linked = link(instructions, { maps: { counts: 6 } });
  assert.equal(
    linked.map((insn) => [insn.src, insn.imm, insn.high]),
    [
      [1, 5, 0],
      [1, 6, 0],
      [2, 6, 4],
      [1, 6, 0],
    ],
  );
  assert.is(linked[0]!.meta?.map, handle);
  const byHandle = link([ldMap(r1, "counts")], { maps: { counts: handle } });
  assert.equal(byHandle[0]!.meta, { map: handle });
  assert.is(byHandle[0]!.imm, 5);
  fd = 8;
  assert.is(link(byHandle)[0]!.imm, 8, "linking again reads the descriptor again");
});

test("a map that is there goes before its name", () => {
  const map = { fd: 5, name: "counts" };
  const named = withMeta(ldImm64(r1, 0), { reference: "counts", map });
  const [linked] = link([named]);
  assert.equal([linked!.src, linked!.imm, linked!.meta], [1, 5, { map }]);
  assert.is(link([linked!])[0], linked, "nothing left to do");
  const byIndex = withMeta(ldMapIndex(r1, 3), { map });
  assert.is(link([byIndex])[0], byIndex);
  assert.throws(
    () => encode([withMeta(ldImm64(r1, 0), { map })]),
    /^Descriptor of map "counts" is 5, the instruction has 0/,
  );
  encode([byIndex]);
});

test("kernel functions by name", () => {
  const [insn] = link([callKfunc("bpf_task_release")], { kfuncs: { bpf_task_release: { btfId: 77, fdIndex: 1 } } });
  assert.equal(operation(insn!), { kind: "call-kfunc", btfId: 77, fdIndex: 1 });
});

test("a plain ld_imm64 that names a function becomes its address", () => {
  const linked = link([withMeta(ldImm64(r1, 0), { reference: "f" }), withMeta(exit(), { labels: ["f"] })]);
  assert.equal(operation(linked[0]!), { kind: "ld-imm64", pseudo: "function", dst: 1, low: 1, high: 0 });
});

// [instructions, message, code]
const REFUSED: readonly (readonly [Instruction[], string, string])[] = [
  [
    program(ja("outt"), label("out"), exit()),
    'Unknown label "outt" (instruction 0)\nHint: Did you mean "out"?',
    "ERR_ASM_LABEL",
  ],
  [[ja("nowhere"), exit()], 'Unknown label "nowhere" (instruction 0)', "ERR_ASM_LABEL"],
  [[callLocal("f"), exit()], 'Unknown function "f" (instruction 0)', "ERR_ASM_LABEL"],
  [[ldFunction(r1, "f"), exit()], 'Unknown function "f" (instruction 0)', "ERR_ASM_LABEL"],
  [
    program(label("a"), mov(r0, 0), label("a"), exit()),
    'Label "a" is already defined at instruction 0 (instruction 1)',
    "ERR_ASM_LABEL",
  ],
  [
    [ja(1), ldImm64(r0, 0), exit()],
    "Jump to slot 2 lands in the second half of the ld_imm64 at instruction 1 (instruction 0)",
    "ERR_ASM_LABEL",
  ],
  [[ja(1), exit()], "Jump to slot 2 leaves the program (slots 0 to 1) (instruction 0)", "ERR_ASM_LABEL"],
  [[exit(), ja(-3)], "Jump to slot -1 leaves the program (slots 0 to 1) (instruction 1)", "ERR_ASM_LABEL"],
  [[callLocal(100), exit()], "Jump to slot 101 leaves the program (slots 0 to 1) (instruction 0)", "ERR_ASM_LABEL"],
  [[ldMap(r1, "m"), exit()], 'Unknown map "m" (instruction 0)', "ERR_ASM_UNRESOLVED"],
  [[callKfunc("k"), exit()], 'Unknown kernel function "k" (instruction 0)', "ERR_ASM_UNRESOLVED"],
  [[withMeta(ldBtfId(r1, 0), { reference: "v" })], 'Unknown kernel variable "v" (instruction 0)', "ERR_ASM_UNRESOLVED"],
  [
    [withMeta(mov(r0, 0), { reference: "x" })],
    'Instruction cannot refer to "x": it is no jump, call or ld_imm64 (instruction 0)',
    "ERR_ASM_UNRESOLVED",
  ],
];

test("what cannot be linked says why", () => {
  for (const [instructions, message, code] of REFUSED) {
    const error = refusal(() => link(instructions));
    assert.is(error.message, message);
    assert.is(error.code, code);
  }
});

test("addresses take no number that would be lost", () => {
  const insn = withMeta(ldImm64(r1, 8), { reference: "counts" });
  const error = refusal(() => link([insn], { maps: { counts: 3 } }));
  assert.is(
    error.message,
    'The address of "counts" cannot have a number added to it (instruction 0)\n' +
      "Hint: For a place inside the value of an array map use ldMapValue()",
  );
  assert.is(error.code, "ERR_ASM_OPERAND");
  assert.is(refusal(() => link([insn, withMeta(exit(), { labels: ["counts"] })])).code, "ERR_ASM_OPERAND");
});

test("all faults are reported at once", () => {
  const error = refusal(() => link([ja("a"), ja(100), ldMap(r1, "m")]));
  assert.equal(
    error.problems.map((problem) => [problem.code, problem.instruction]),
    [
      ["ERR_ASM_LABEL", 0],
      ["ERR_ASM_LABEL", 1],
      ["ERR_ASM_UNRESOLVED", 2],
    ],
  );
});

test("faults point into the source where it is known", () => {
  const error = refusal(() => link([withMeta(ja("outt"), { source }), withMeta(exit(), { labels: ["out"] })]));
  assert.is(
    error.message,
    'Unknown label "outt" at a.c:7:10\n      goto outt; // outt\n           ^~~~\nHint: Did you mean "out"?',
  );
  assert.equal([error.line, error.column, error.instruction], [7, 10, 0]);
});

test("suggestions for maps and kernel functions", () => {
  const maps = { events: 4 };
  assert.is(refusal(() => link([ldMap(r1, "event")], { maps })).hint, 'Did you mean "events"?');
  const kfuncs = { bpf_task_release: { btfId: 1 } };
  assert.is(refusal(() => link([callKfunc("bpf_task_releas")], { kfuncs })).hint, 'Did you mean "bpf_task_release"?');
  assert.is(refusal(() => link([ldMap(r1, "constructor")], { maps })).code, "ERR_ASM_UNRESOLVED");
});

const filler = (count: number): Instruction[] => Array.from({ length: count }, () => mov(r0, 0));

test("jumps reach 32767 slots and no further", () => {
  const exact = link(program(ja("out"), filler(32767), label("out"), exit()));
  assert.equal(operation(exact[0]!), { kind: "goto", offset: 32767 });
  const far = link(program(ja("out"), filler(32768), label("out"), exit()));
  assert.equal(operation(far[0]!), { kind: "gotol", offset: 32768 });
  const back = link(program(label("top"), filler(32767), ja("top"), exit()));
  assert.equal(operation(back[32767]!), { kind: "goto", offset: -32768 });
  const farBack = link(program(label("top"), filler(32768), ja("top"), exit()));
  assert.equal(operation(farBack[32768]!), { kind: "gotol", offset: -32769 });
});

test("a conditional jump that is too far becomes the opposite over a gotol", () => {
  const pairs = [
    [jeq, "jne"],
    [jne, "jeq"],
    [jgt, "jle"],
    [jge, "jlt"],
    [jlt, "jge"],
    [jle, "jgt"],
    [jsgt, "jsle"],
    [jsge, "jslt"],
    [jslt, "jsge"],
    [jsle, "jsgt"],
  ] as const;
  for (const [build, opposite] of pairs) {
    const jump = withMeta(build(w1, 5, "out"), { source, labels: ["here"] });
    const linked = link(program(jump, filler(40000), label("out"), exit()));
    assert.is(linked.length, 40003);
    assert.equal(operation(linked[0]!), {
      kind: "jump",
      op: opposite,
      width: 32,
      dst: 1,
      src: undefined,
      imm: 5,
      offset: 1,
    });
    assert.equal(linked[0]!.meta, { source, labels: ["here"] });
    assert.equal(operation(linked[1]!), { kind: "gotol", offset: 40000 });
    assert.equal(linked[1]!.meta, { source });
  }
});

test("jset and may_goto have no opposite and take three slots", () => {
  for (const jump of [jset(r1, r2, "out"), mayGoto("out")]) {
    const linked = link(program(jump, filler(40000), label("out"), exit()));
    assert.equal(
      linked.slice(0, 3).map((insn) => operation(insn).kind),
      [operation(jump).kind, "goto", "gotol"],
    );
    assert.is(linked[0]!.offset, 1);
    assert.is(linked[1]!.offset, 1);
    assert.is(linked[2]!.imm, 40000);
  }
});

test("numeric jumps follow when others grow", () => {
  // The numeric jump spans the jump that grows by a slot.
  const linked = link(program(ja(1), jeq(r1, 0, "out"), filler(40000), label("out"), exit()));
  assert.is(linked[0]!.offset, 2);
});

test("growth of one jump may push another over the edge", () => {
  const linked = link(
    program(jeq(r1, 0, "out"), jeq(r1, 1, "far"), filler(32766), label("out"), filler(9000), label("far"), exit()),
  );
  assert.equal(
    linked.slice(0, 4).map((insn) => operation(insn).kind),
    ["jump", "gotol", "jump", "gotol"],
  );
  assert.is(linked[1]!.imm, 32768);
});

test("without gotol a jump that is too far is an error", () => {
  const instructions = program(jeq(r1, 0, "out"), ja("out"), filler(40000), label("out"), exit());
  for (const cpu of ["v1", "v2", "v3"] as const) {
    const error = refusal(() => link(instructions, { cpu }));
    assert.is(error.problems.length, 2);
    assert.is(error.problems[0]!.message, 'Jump to "out" spans 40001 slots, more than 16 bits hold');
    assert.is(error.problems[0]!.hint, 'Use cpu "v4" (gotol, Linux 6.6), or bring the target nearer');
    assert.is(error.code, "ERR_ASM_RANGE");
  }
});

test("linking a linked program changes nothing", () => {
  const linked = link(program(label("a"), ja("b"), filler(3), label("b"), jeq(r1, 0, "a"), exit()));
  assert.equal(link(linked), linked);
});

/** A random program with labels everywhere; every target is known by the number in its instruction. */
test("every jump arrives where its label stands", () => {
  const jumps = [ja, gotol, mayGoto, callLocal, (t: string) => jeq(r1, 0, t), (t: string) => ldFunction(r1, t)];
  const program_ = fc.array(fc.tuple(fc.nat(9), fc.nat(1000)), { minLength: 1, maxLength: 60 }).map((list) =>
    list.map(([kind, to], index) => {
      const body = jumps[kind]?.(`l${to % list.length}`) ?? (kind === 6 ? ldImm64(r0, index) : add(r0, index));
      return withMeta(body, { labels: [`l${index}`] });
    }),
  );
  fc.assert(
    fc.property(program_, (instructions) => {
      const linked = link(instructions);
      const slots: number[] = [];
      let at = 0;
      for (const insn of linked) {
        slots.push(at);
        at += slotsOf(insn);
      }
      for (const [index, insn] of instructions.entries()) {
        const goal = insn.meta?.reference;
        if (goal === undefined) {
          assert.is(linked[index], insn);
          continue;
        }
        const op = operation(linked[index]!);
        const distance = op.kind === "ld-imm64" ? op.low : "offset" in op ? op.offset : Number.NaN;
        assert.is(slots[index]! + 1 + distance, slots[Number(goal.slice(1))]);
      }
      assert.equal(decode(encode(linked)).length, linked.length);
    }),
    { numRuns: rounds(500, 20_000) },
  );
});

test.run();
