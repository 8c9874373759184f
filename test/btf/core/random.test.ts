import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../../src/asm/index.ts";
import { applyFixups, computeFixups, coreRelocationsOf, formatRelocation } from "../../../src/btf/index.ts";
import { toHex } from "../../../src/bytes/index.ts";
import { BtfError } from "../../../src/errors.ts";
import { requires, rounds } from "../../support/harness.ts";
import { Libbpf } from "./libbpf.ts";
import { openObject } from "./object.ts";
import { bytesOf, evolve, layOut, objectOf, random, schema } from "./random-types.ts";

const test = suite("btf/core/random");

const PROGRAMS = 60;

requires(
  test,
  "bpf",
  "tool:libbpf-cc",
)("libbpf relocates random programs for random kernels in the same way", () => {
  const libbpf = new Libbpf();
  const counts = { same: 0, refused: 0, chosen: 0, poisoned: 0, relocations: 0 };
  try {
    for (let seed = 1; seed <= rounds(20, 300); seed++) {
      const next = random(seed);
      const old = schema(next);
      const local = layOut(next, old);
      const kernel = layOut(next, evolve(next, old));
      const bytes = objectOf(next, local, PROGRAMS);
      const object = openObject(bytes);
      const theirs = libbpf.relocate(bytes, bytesOf(kernel));
      assert.is(theirs.size, PROGRAMS);
      for (const program of object.programs) {
        const wanted = theirs.get(program.name)!;
        const relocations = coreRelocationsOf(program.instructions);
        const where = `seed ${seed}, ${program.name}: ${JSON.stringify(relocations)}, libbpf: ${wanted.complaints.join("; ")}`;
        counts.relocations += relocations.length;
        try {
          const fixups = computeFixups(relocations, object.btf, [{ name: "kernel", btf: kernel }]);
          const code = toHex(encode(applyFixups(program.instructions, fixups)));
          counts.poisoned += fixups.filter(({ poison }) => poison).length;
          const disputed = fixups.some(({ memory }) => memory?.disputed !== undefined) && code !== wanted.code;
          if (disputed || (wanted.code === undefined && wanted.complaints.some((text) => text.includes("ambiguity")))) {
            counts.chosen++;
            continue;
          }
          assert.is(
            code,
            wanted.code,
            `${where}, ours: ${fixups.map((f) => `${formatRelocation(f)} ${f.before} -> ${f.after}`).join("; ")}`,
          );
          counts.same++;
        } catch (error) {
          if (!(error instanceof BtfError)) throw error;
          assert.is(wanted.code, undefined, `${where}, ours: ${error.message}`);
          counts.refused++;
        }
      }
    }
  } finally {
    libbpf.close();
  }
  const { same, refused, chosen, poisoned, relocations } = counts;
  assert.ok(same > refused && poisoned > same / 100, JSON.stringify(counts));
  console.log(
    `NOTE libbpf agrees on ${same + refused} of ${same + refused + chosen} random programs (${relocations} relocations, ${poisoned} poisoned, ${refused} programs refused by both; in ${chosen} it cannot choose and we can)`,
  );
});

test.run();
