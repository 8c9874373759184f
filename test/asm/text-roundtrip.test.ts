import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  AsmError,
  type AssemblyStyle,
  assemble,
  assembleFile,
  decode,
  distanceField,
  encode,
  type Instruction,
  LD_IMM64,
  layout,
  type PrintOptions,
  print,
  printInstruction,
  withMeta,
} from "../../src/asm/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { cpuTime, rounds } from "../support/harness.ts";
import { type Random, random, randomInstruction } from "../support/instructions.ts";
import { SPELLINGS } from "./text-table.ts";

const test = suite("asm text round trip");

const STYLES: readonly AssemblyStyle[] = ["llvm", "kernel", "mnemonic"];
const seed = fc.integer({ min: 1, max: 0x7fffffff });

function hexOf(instructions: readonly Instruction[]): string {
  return toHex(encode(instructions));
}

test("every instruction comes back, in every style", () => {
  const numRuns = rounds(5_000, 100_000);
  fc.assert(
    fc.property(seed, fc.boolean(), fc.boolean(), (start, hex, helpers) => {
      const insn = randomInstruction(random(start));
      for (const style of STYLES) {
        const text = printInstruction(insn, { style, hex, helpers });
        assert.is(hexOf(assemble(text, { style })), hexOf([insn]), `${style}: ${text}`);
      }
    }),
    { numRuns },
  );
  console.log(`\nNOTE ${numRuns} random instructions come back in all three styles`);
});

/** A random program whose jumps lead to instructions of its own. */
function randomProgram(from: Random): Instruction[] {
  const code = Array.from({ length: 1 + from.below(30) }, () => randomInstruction(from));
  const { slots } = layout(code);
  return code.map((insn, i) => {
    const field = distanceField(insn);
    if (field === "none") return insn;
    return { ...insn, [field]: slots[from.below(code.length)]! - slots[i]! - 1 };
  });
}

const NAMES = [
  "out",
  ".LBB0_1",
  "a b",
  'quo"te',
  "r1",
  "pc",
  "exit",
  "1f",
  "",
  "über",
  "L1",
  "func_1",
  "add",
  "x\ny",
  "\\",
];

function withLabels(from: Random, code: readonly Instruction[]): Instruction[] {
  const names = [...NAMES];
  return code.map((insn, i) => {
    const labels: string[] = [];
    while (names.length > 0 && from.below(4) === 0) labels.push(...names.splice(from.below(names.length), 1));
    const source = { file: "a.c", line: i, column: 1, text: `call(${i}); // "x" /* y` };
    if (from.below(2) === 0) return withMeta(insn, { source, ...(labels.length > 0 ? { labels } : {}) });
    return labels.length > 0 ? withMeta(insn, { labels }) : insn;
  });
}

test("every program comes back, however it is shown", () => {
  fc.assert(
    fc.property(seed, (start) => {
      const from = random(start);
      const code = withLabels(from, randomProgram(from));
      const options: PrintOptions = {
        style: from.pick(STYLES),
        numbers: from.below(2) === 0,
        raw: from.below(2) === 0,
        labels: from.below(2) === 0,
        source: from.below(2) === 0,
        helpers: from.below(2) === 0,
        hex: from.below(2) === 0,
      };
      const text = print(code, options);
      const back = assemble(text, { style: options.style });
      assert.is(hexOf(back), hexOf(code), text);
      if (options.labels === true) {
        // A label that there was is there again, at its instruction.
        code.forEach((insn, i) => {
          const found = back[i]!.meta?.labels ?? [];
          for (const name of insn.meta?.labels ?? []) assert.ok(found.includes(name), `${name}: ${text}`);
        });
        const file = assembleFile(text, { style: options.style });
        assert.is(file.instructions.length, code.length);
      }
    }),
    { numRuns: rounds(500, 20_000) },
  );
});

test("names that are not yet resolved come back as names", () => {
  fc.assert(
    fc.property(seed, (start) => {
      const from = random(start);
      const code = randomProgram(from);
      const style = from.pick(STYLES);
      const text = print(code, { style, labels: true });
      const named = assemble(text, { style, link: false });
      // Distances are all forgotten: the names alone must give them again.
      const vague = named.map((insn) => {
        const field = insn.meta?.reference === undefined ? "none" : distanceField(insn);
        return field === "none" ? insn : { ...insn, [field]: 0 };
      });
      const again = assemble(print(vague, { style }), { style });
      assert.is(hexOf(again), hexOf(code), text);
    }),
    { numRuns: rounds(300, 10_000) },
  );
});

test("bytes that are no program come back too", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 64 }), fc.constantFrom(...STYLES), (bytes, style) => {
      const whole = bytes.subarray(0, bytes.length & ~7);
      const code = decode(whole, { strict: false });
      // What looks like a jump into the middle of an ld_imm64 is refused, see text-errors.
      const { slots, indices } = layout(code);
      const astray = code.some((insn, i) => {
        const field = insn.opcode === LD_IMM64 ? "none" : distanceField(insn);
        return field !== "none" && indices[slots[i]! + 1 + insn[field]] === -1;
      });
      if (astray) return;
      assert.is(hexOf(assemble(print(code, { style }), { style })), toHex(whole), print(code, { style }));
    }),
    { numRuns: rounds(1_000, 50_000) },
  );
});

/** Pieces of all the grammars, for texts that are nearly right. */
const PIECES = [
  ...new Set(SPELLINGS.flatMap(({ llvm, kernel, mnemonic }) => `${llvm} ${kernel} ${mnemonic}`.split(/([^\w])/))),
  "\n",
  "\n",
  "\n",
  ";",
  "#",
  "//",
  "/*",
  "*/",
  '"',
  "'",
  "\\",
  ".section",
  ".quad",
  ".byte",
  ".ascii",
  ".equ",
  ".type",
  ".globl",
  ".p2align",
  ".zero",
  ".insert",
  ".text",
  ".data",
  "a:",
  "1:",
  "1f",
  "1b",
  "a",
  "=",
  "<",
  ">",
  "0x",
  "99999999999999999999",
  "18446744073709551616",
  "ä",
  "\u2028",
  "\0",
  "(b7)",
  "0000000000000000 <f>:",
  "b7 00 00 00 00 00 00 00",
].filter((piece) => piece !== "");

test("any text gives instructions or an AsmError", () => {
  const text = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.array(fc.constantFrom(...PIECES), { maxLength: 40 }).map((pieces) => pieces.join("")),
    fc.array(fc.constantFrom(...PIECES), { maxLength: 40 }).map((pieces) => pieces.join(" ")),
  );
  let refused = 0;
  const numRuns = rounds(3_000, 60_000);
  fc.assert(
    fc.property(text, fc.constantFrom("auto", ...STYLES), (given, style) => {
      try {
        assemble(given, { style, source: true });
      } catch (error) {
        if (!(error instanceof AsmError)) throw error;
        refused++;
        const lines = given.split("\n");
        for (const problem of error.problems) {
          assert.ok(problem.line >= 1 && problem.line <= lines.length, "line");
          const line = lines[problem.line - 1]!;
          assert.is(problem.text, line.replace(/\r$/, ""));
          assert.ok(problem.column >= 1 && problem.column <= line.length + 1, "column");
          assert.ok(problem.length >= 1, "length");
          assert.not.match(problem.message, /undefined|NaN|\[object|Cannot read this|\n/);
        }
      }
    }),
    { numRuns },
  );
  assert.ok(refused > numRuns / 4);
});

test("one character changed gives instructions or an AsmError", () => {
  const rows = SPELLINGS.flatMap(({ llvm, kernel, mnemonic }) => [llvm, kernel, mnemonic]);
  fc.assert(
    fc.property(fc.constantFrom(...rows), fc.nat(), fc.string({ maxLength: 2 }), (row, place, by) => {
      const at = place % (row.length + 1);
      try {
        assemble(row.slice(0, at) + by + row.slice(at + 1));
      } catch (error) {
        if (!(error instanceof AsmError)) throw error;
      }
    }),
    { numRuns: rounds(2_000, 50_000) },
  );
});

/** What a text gives: its bytes and style, or its problems. */
function outcome(text: string): string {
  try {
    const { instructions, style } = assembleFile(text, { link: false });
    const meta = instructions.map((insn) => insn.meta);
    return `${style} ${JSON.stringify([instructions, meta])}`;
  } catch (error) {
    if (!(error instanceof AsmError)) throw error;
    return error.problems.map(({ message, line, column }) => `${line}:${column} ${message}`).join("\n");
  }
}

test("the short cut for simple lines means what the grammar means", () => {
  const rows = SPELLINGS.flatMap(({ llvm, kernel, mnemonic }) => [llvm, kernel, mnemonic]);
  const named = [
    "call bpf_map_lookup_elem",
    "call bpf_map_lookup_elem#1",
    "call bpf_map_delete_elem#1",
    "call bpf_unspec#0",
    "bpf_map_lookup_elem:",
    "goto a",
    "if r1 == 5 goto a",
    "jeq %r1, 5, a",
    "ja exit",
    "a:",
    "  a: exit",
  ];
  let simple = 0;
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          row: fc.constantFrom(...rows, ...named),
          place: fc.nat(),
          by: fc.oneof(
            fc.constant(undefined),
            fc.constantFrom(..."0123456789abrwx%+-=<>s,;: \t[]()*/.!_"),
            fc.constant(""),
          ),
        }),
        { minLength: 1, maxLength: 3 },
      ),
      (lines) => {
        const changed = lines.map(({ row, place, by }) => {
          const at = place % (row.length + 1);
          return by === undefined ? row : row.slice(0, at) + by + row.slice(at + 1);
        });
        if (changed.some((line) => /\/[*/]/.test(line))) return;
        // A comment behind it makes no line simple.
        assert.is(
          outcome(changed.join("\n")),
          outcome(changed.map((line) => `${line}#`).join("\n")),
          changed.join("\n"),
        );
        simple++;
      },
    ),
    { numRuns: rounds(3_000, 60_000) },
  );
  assert.ok(simple > 0);
});

test("time grows with the length of the text, whatever is in it", () => {
  const hostile: Readonly<Record<string, (n: number) => string>> = {
    "open comments": (n) => "/*".repeat(n),
    "open strings": (n) => '"\n'.repeat(n),
    "long line of labels": (n) => Array.from({ length: n }, (_, i) => `l${i}:`).join(" "),
    "the same label": (n) => "l:\n".repeat(n),
    "unknown labels": (n) => "goto x\n".repeat(n),
    "unknown words in one line": (n) => "zz;".repeat(n),
    "deep parentheses": (n) => `r1 = ${"(".repeat(n)}`,
    "long sum": (n) => `r1 = 1${" + 1".repeat(n)}`,
    "long product": (n) => `r1 = 1${" * 3".repeat(n)}`,
    "minus signs": (n) => `r1 = ${"- ".repeat(n)}1`,
    "long number": (n) => `r1 = ${"9".repeat(n)}`,
    "long hexadecimal number": (n) => `r1 = 0x${"f".repeat(n)}`,
    "long name": (n) => "a".repeat(n),
    "long label": (n) => `goto ${"a".repeat(n)}`,
    "symbols of llvm-objdump": (n) => "0000000000000000 <;".repeat(n),
    "places of llvm-objdump": (n) => "goto +1 <;".repeat(n),
    "many sections": (n) => Array.from({ length: n }, (_, i) => `.section s${i}\n.byte 1`).join("\n"),
    "forward local labels": (n) => "goto 1f\n".repeat(n),
    "hexadecimal bytes": (n) => "aa ".repeat(n),
    differences: (n) => `.data\na: .byte 1\nb:\n${".long b-a\n".repeat(n)}`,
  };
  for (const [name, make] of Object.entries(hostile)) {
    const time = (text: string): number => {
      const before = cpuTime();
      try {
        assemble(text);
      } catch (error) {
        if (!(error instanceof AsmError)) throw error;
      }
      return cpuTime() - before;
    };
    const text = make(10_000);
    time(make(1_000));
    const taken = time(text);
    // Far above what it takes, and far below what a square would take.
    assert.ok(taken < 2000, `${name}: ${taken.toFixed(0)} ms for ${text.length} characters`);
  }
});

test.run();
