import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AsmError, type AsmProblem, asmError } from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";

const test = suite("asm errors");

const problem: AsmProblem = {
  code: "ERR_ASM_UNKNOWN_MNEMONIC",
  message: 'Unknown mnemonic "movv"',
  line: 3,
  column: 3,
  length: 4,
  hint: 'Did you mean "mov"?',
  text: "  movv r0, 0",
};

test("the line of text is shown with the fault underlined", () => {
  const error = new AsmError([{ ...problem, file: "a.s" }]);
  assert.is(error.message, 'Unknown mnemonic "movv" at a.s:3:3\n    movv r0, 0\n    ^~~~\nHint: Did you mean "mov"?');
  assert.is(error.name, "AsmError");
  assert.is(error.code, "ERR_ASM_UNKNOWN_MNEMONIC");
  assert.is(error.hint, 'Did you mean "mov"?');
  assert.equal([error.line, error.column, error.instruction], [3, 3, undefined]);
  assert.instance(error, BpfError);
});

test("without a file the line has a word before it", () => {
  assert.match(new AsmError([problem]).message, /^Unknown mnemonic "movv" at line 3:3\n/);
});

test("several faults are counted and told one after the other", () => {
  const error = new AsmError([problem, { ...problem, line: 5, hint: undefined }]);
  assert.is(
    error.message,
    '2 problems\nUnknown mnemonic "movv" at line 3:3\n    movv r0, 0\n    ^~~~\nHint: Did you mean "mov"?\n' +
      'Unknown mnemonic "movv" at line 5:3\n    movv r0, 0\n    ^~~~',
  );
  assert.is(error.hint, undefined);
  assert.is(error.problems.length, 2);
});

test("of very many faults the message shows the first twenty", () => {
  const error = new AsmError(Array.from({ length: 25 }, (_, i) => ({ ...problem, line: i + 1, text: undefined })));
  assert.match(error.message, /^25 problems\n/);
  assert.match(error.message, /at line 20:3\nHint: .*\nand 5 more$/);
  assert.is(error.problems.length, 25);
});

test("tabs before the fault stay tabs", () => {
  const error = new AsmError([{ ...problem, column: 3, text: "\t\tmovv r0, 0", hint: undefined }]);
  assert.is(error.message.split("\n")[2], "  \t\t^~~~");
});

test("long lines are cut around the fault", () => {
  const text = `${"x".repeat(5000)}movv${"y".repeat(5000)}`;
  const lines = new AsmError([{ ...problem, column: 5001, text, hint: undefined }]).message.split("\n");
  assert.is(lines[1]!.length, 162);
  assert.is(lines[1]!.slice(lines[2]!.indexOf("^")).slice(0, 4), "movv");
  assert.is(lines[2]!.trim(), "^~~~");
});

test("a fault at the end of a line is still marked", () => {
  const lines = new AsmError([{ ...problem, column: 13, length: 0, hint: undefined }]).message.split("\n");
  assert.is(lines[2], `  ${" ".repeat(12)}^`);
});

test("faults without text name the instruction", () => {
  const error = asmError("ERR_ASM_RANGE", "Offset 40000 does not fit", { instruction: 4, hint: "Bring it nearer" });
  assert.is(error.message, "Offset 40000 does not fit (instruction 4)\nHint: Bring it nearer");
  assert.is(error.instruction, 4);
  assert.throws(() => new AsmError([]), RangeError);
});

test.run();
