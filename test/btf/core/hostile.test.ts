import { suite } from "uvu";
import * as assert from "uvu/assert";
import { applyFixups, computeFixups, coreRelocationsOf } from "../../../src/btf/index.ts";
import { findSection, readElf } from "../../../src/elf/index.ts";
import { BpfError } from "../../../src/errors.ts";
import { fixture } from "../../elf/build.ts";
import { cpuTime, rounds } from "../../support/harness.ts";
import { objectBtf, openObject } from "./object.ts";

const test = suite("btf/core/hostile");

// A generator of its own, so that a failure can be repeated.
function random(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

test("random changes to the types and relocations of an object, and of its target, give a BpfError or an answer, quickly", () => {
  const count = rounds(200, 3000);
  const localBytes = fixture("core-local.el.o");
  const targetBytes = fixture("core-target.el.o");
  const places = (bytes: Uint8Array, ...names: string[]): { offset: number; size: number }[] =>
    names.map((name) => findSection(readElf(bytes), name)!);
  const inLocal = places(localBytes, ".BTF", ".BTF.ext");
  const inTarget = places(targetBytes, ".BTF");
  let slowest = 0;
  let refused = 0;
  for (let seed = 1; seed <= count; seed++) {
    const next = random(seed);
    const local = localBytes.slice();
    const target = targetBytes.slice();
    for (let i = 1 + next(6); i > 0; i--) {
      const [bytes, sections] = next(3) === 0 ? [target, inTarget] : [local, inLocal];
      const { offset, size } = sections[next(sections.length)]!;
      const at = offset + next(size - 4);
      const view = new DataView(bytes.buffer);
      if (next(2) === 0) view.setUint8(at, next(256));
      // Numbers of types and counts are small.
      else view.setUint32(at & ~3, next(400), true);
    }
    const before = cpuTime();
    try {
      const object = openObject(local);
      const targets = [{ name: "target", btf: objectBtf(readElf(target)) }];
      for (const { instructions } of object.programs) {
        const fixups = computeFixups(coreRelocationsOf(instructions), object.btf, targets);
        applyFixups(instructions, fixups);
      }
    } catch (error) {
      if (!(error instanceof BpfError)) throw new Error(`seed ${seed}: ${(error as Error).stack}`);
      refused++;
    }
    slowest = Math.max(slowest, cpuTime() - before);
  }
  assert.ok(slowest < 1000, `the slowest took ${slowest} ms`);
  assert.ok(refused > count / 10 && refused < count);
  console.log(`NOTE ${count} changed objects: ${refused} refused, none slower than ${slowest.toFixed(0)} ms`);
});

test.run();
