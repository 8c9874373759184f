import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Instruction } from "../../../src/asm/index.ts";
import { applyFixups, CORE_POISON, type CoreFixup, computeFixups, coreRelocationsOf } from "../../../src/btf/index.ts";
import { readElf } from "../../../src/elf/index.ts";
import { loadProgram } from "../../../src/programs/index.ts";
import { fixture } from "../../elf/build.ts";
import { failOnLeaks, requires } from "../../support/harness.ts";
import { long, objectBtf, openObject, type TestProgram, variable } from "./object.ts";

const test = suite("btf/core/fixtures");
failOnLeaks(test);

for (const order of ["el", "eb"]) {
  const object = openObject(fixture(`core-local.${order}.o`));
  const target = readElf(fixture(`core-target.${order}.o`));
  const targets = [{ name: "target", btf: objectBtf(target) }];
  const fixups = computeFixups(object.relocations, object.btf, targets);
  const own = (program: TestProgram): CoreFixup[] =>
    computeFixups(coreRelocationsOf(program.instructions), object.btf, targets);

  test(`what has no answer in the target is poisoned, and nothing else (${order})`, () => {
    assert.ok(object.programs.length > 100);
    for (const program of object.programs) {
      // The one program that asks before it reads.
      if (program.name === "guarded") continue;
      const isPoison = (insn: Instruction): boolean => insn.imm === CORE_POISON;
      const poisoned = applyFixups(program.instructions, fixups).some(isPoison);
      assert.is(poisoned, long(target, `want_${program.name}`) === undefined, program.name);
    }
  });

  test(`programs of one relocation give the numbers that the compiler of the target has (${order})`, () => {
    let compared = 0;
    for (const program of object.programs) {
      const wanted = long(target, `want_${program.name}`);
      if (wanted === undefined || /^(read|load|store|guarded)/.test(program.name)) continue;
      const [fixup, ...others] = own(program);
      assert.is(others.length, 0, program.name);
      // Some programs shift what does not fit a return value of 32 bits.
      const shift = program.name === "value_large" ? 16n : program.name === "value_now_large" ? 32n : 0n;
      assert.is(fixup!.after >> shift, wanted, program.name);
      compared++;
    }
    console.log(`NOTE ${compared} answers are those of the compiler (${order})`);
  });

  if (order === "el") {
    requires(test, "bpf")("programs return what the compiler of the target has", () => {
      const data = new Uint8Array(512);
      data.set(variable(target, "sample")!);
      let compared = 0;
      for (const program of object.programs) {
        const wanted = long(target, `want_${program.name}`);
        if (wanted === undefined) continue;
        const instructions = applyFixups(program.instructions, fixups);
        using loaded = loadProgram({
          type: "xdp",
          instructions,
          license: "GPL",
          name: program.name,
        });
        const { returnValue } = loaded.run({ data });
        assert.is(BigInt(returnValue), BigInt.asUintN(32, wanted), program.name);
        compared++;
      }
      console.log(`NOTE ${compared} programs return what the compiler of the target says`);
    });

    requires(test, "bpf")("the verifier refuses what was poisoned, by its number", () => {
      for (const program of object.programs) {
        if (long(target, `want_${program.name}`) !== undefined) continue;
        const instructions = applyFixups(program.instructions, fixups);
        assert.ok(instructions.some((insn) => insn.meta?.source?.text.startsWith("instruction poisoned by CO-RE: <")));
        assert.throws(
          () => loadProgram({ type: "xdp", instructions, license: "GPL" }).close(),
          (error: unknown) => /invalid func unknown#195896080/.test((error as { log: string }).log),
          program.name,
        );
      }
    });
  }
}

test.run();
