import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "../../../src/asm/index.ts";
import {
  applyFixups,
  type Btf,
  type CoreFixup,
  computeFixups,
  coreRelocationsOf,
  formatRelocation,
  openBtf,
} from "../../../src/btf/index.ts";
import { toHex } from "../../../src/bytes/index.ts";
import { readBtfSections, readElf } from "../../../src/elf/index.ts";
import { BtfError } from "../../../src/errors.ts";
import { fixture } from "../../elf/build.ts";
import { requires, rounds } from "../../support/harness.ts";
import { Libbpf } from "./libbpf.ts";
import { openObject, type TestProgram } from "./object.ts";

const test = suite("btf/core/differential");

/** Where libbpf refuses and we do not, and what we do instead; everything else must be the same. */
const DIFFERENT: Readonly<Record<string, string>> = {
  value_top: "takes enumerators of 2^31 and more as compilers write them",
  outvoted_all: "takes the candidate that has all fields",
  rivals_exist: "is the same in both candidates",
  rivals_size: "is the same in both candidates",
};

interface Ours {
  readonly fixups: readonly CoreFixup[];
  readonly code: string;
}

function relocate(program: TestProgram, local: Btf, kernel: Btf): Ours | BtfError {
  try {
    const relocations = coreRelocationsOf(program.instructions);
    const fixups = computeFixups(relocations, local, [{ name: "kernel", btf: kernel }]);
    return { fixups, code: toHex(encode(applyFixups(program.instructions, fixups))) };
  } catch (error) {
    if (error instanceof BtfError) return error;
    throw error;
  }
}

function compare(libbpf: Libbpf, name: string, kernel: Btf, kernelBytes?: Uint8Array): void {
  const bytes = fixture(name);
  const object = openObject(bytes);
  const theirs = libbpf.relocate(bytes, kernelBytes);
  let relocations = 0;
  let refused = 0;
  const different: string[] = [];
  for (const program of object.programs) {
    const ours = relocate(program, object.btf, kernel);
    const wanted = theirs.get(program.name)!;
    if (DIFFERENT[program.name] !== undefined && wanted.code === undefined) {
      assert.not.instance(ours, BtfError, program.name);
      different.push(program.name);
      continue;
    }
    if (ours instanceof BtfError) {
      assert.is(wanted.code, undefined, `${program.name}: ${ours.message}`);
      refused++;
    } else {
      assert.is(ours.code, wanted.code, `${program.name}: ${wanted.complaints.join()}`);
      const asked = ours.fixups.map(formatRelocation);
      assert.equal(asked, [...new Set(wanted.asked)], program.name);
      for (const { relocation, candidates, local, target } of ours.fixups) {
        const kind = formatRelocation({ relocation, local }).split(" ")[0];
        if (target !== undefined) {
          const line = `${kind} [${target.type}] ${target.text}`;
          assert.ok(
            wanted.matching.includes(line),
            `${program.name}: ${line}, not one of ${wanted.matching.join(", ")}`,
          );
        }
        for (const candidate of candidates) {
          // libbpf asks no more of a type that it has left out before.
          const line = `${kind} [${candidate.type}] ${candidate.text}`;
          if (wanted.matching.includes(line)) assert.ok(candidate.matches, line);
        }
      }
    }
    relocations += coreRelocationsOf(program.instructions).length;
  }
  const total = object.relocations.length;
  const but = different.length === 0 ? "" : `; but ${different.map((each) => `${each} ${DIFFERENT[each]}`).join(", ")}`;
  console.log(
    `NOTE libbpf agrees on ${relocations} of ${total} relocations of ${name} (${refused} programs refused by both)${but}`,
  );
}

function btfOf(name: string): Uint8Array {
  return readBtfSections(readElf(fixture(name))).btf!.bytes.slice();
}

const needed = requires(test, "bpf", "tool:libbpf-cc");
let libbpf: Libbpf | undefined;

function withLibbpf(run: (libbpf: Libbpf) => void): () => void {
  return () => {
    libbpf ??= new Libbpf();
    run(libbpf);
  };
}

needed(
  "libbpf relocates for another layout in the same way",
  withLibbpf((peer) => {
    const types = btfOf("core-target.el.o");
    compare(peer, "core-local.el.o", openBtf(types), types);
  }),
);

needed(
  "libbpf chooses among several candidates in the same way",
  withLibbpf((peer) => {
    const types = btfOf("core-candidates.el.o");
    compare(peer, "core-several.el.o", openBtf(types), types);
  }),
);

requires(
  test,
  "bpf",
  "tool:libbpf-cc",
  "kernel-btf",
)(
  "libbpf relocates for the running kernel in the same way",
  withLibbpf((peer) => {
    const kernel = openBtf(readFileSync("/sys/kernel/btf/vmlinux"));
    compare(peer, "core-kernel.el.o", kernel);
    // libbpf reads all types of the kernel again for each program.
    if (rounds(0, 1) === 1) for (const name of ["core-local.el.o", "core-several.el.o"]) compare(peer, name, kernel);
  }),
);

test.after(() => libbpf?.close());

test.run();
