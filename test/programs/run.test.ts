import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, load, mov, r0, r1, store } from "../../src/asm/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("programs/run");
failOnLeaks(test);

const BPF_F_SLEEPABLE = 1 << 4;

requires(test, "bpf")("a program of type syscall gets its context, and gives it back changed", () => {
  using program = loadProgram({
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    license: "GPL",
    instructions: [load("u32", r0, r1, 4), store("u32", r1, 0, 7), exit()],
  });
  const context = Uint8Array.of(1, 0, 0, 0, 42, 0, 0, 0);
  const result = program.run({ context });
  assert.is(result.returnValue, 42);
  assert.equal(result.context, Uint8Array.of(7, 0, 0, 0, 42, 0, 0, 0));
  assert.is(context[0], 1, "what was given is left as it was");
});

requires(test, "bpf")("a program of type syscall runs without a context", () => {
  using program = loadProgram({
    type: "syscall",
    flags: BPF_F_SLEEPABLE,
    license: "GPL",
    instructions: [mov(r0, 5), exit()],
  });
  const result = program.run();
  assert.is(result.returnValue, 5);
  assert.is(result.context.length, 0);
});

test.run();
