import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  readBtfSections,
  readElf,
  readRelocations,
  readSegments,
  readSymbols,
  relocationSections,
  requireBpf,
  SectionType,
  sectionData,
} from "../../src/elf/index.ts";
import { ElfError } from "../../src/errors.ts";
import { cpuTime, rounds } from "../support/harness.ts";
import { fixture } from "./build.ts";

const test = suite("elf/hostile");

/** Reads everything that can be read; each part on its own, so that no fault hides another. */
function readAll(bytes: Uint8Array): number {
  let faults = 0;
  const attempt = <T>(run: () => T): T | undefined => {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof ElfError)) throw error;
      faults++;
      return undefined;
    }
  };
  const elf = attempt(() => readElf(bytes));
  if (elf === undefined) return faults;
  attempt(() => requireBpf(elf));
  attempt(() => readSymbols(elf));
  attempt(() => readBtfSections(elf));
  attempt(() => readSegments(elf));
  for (const section of elf.sections) {
    if (section.type !== SectionType.null && section.type !== SectionType.nobits)
      attempt(() => sectionData(elf, section));
  }
  for (const section of relocationSections(elf)) attempt(() => readRelocations(elf, section));
  return faults;
}

for (const name of ["packet-count.el.o", "packet-count.eb.o"]) {
  test(`every prefix of ${name} gives an ElfError`, () => {
    const bytes = fixture(name);
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(
        () => readElf(bytes.subarray(0, length)),
        (error: unknown) => error instanceof ElfError && error.message.startsWith("ELF truncated: need "),
        `prefix of ${length} bytes`,
      );
    }
  });
}

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

const INTERESTING = [0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0xff00, 0xfff1, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

test("random changes to a real object give an ElfError or a value, quickly", () => {
  const count = rounds(2000, 100_000);
  const originals = [fixture("packet-count.el.o"), fixture("packet-count.eb.o")];
  let slowest = 0;
  let refused = 0;
  for (let seed = 1; seed <= count; seed++) {
    const next = random(seed);
    const bytes = originals[seed % 2]!.slice();
    const view = new DataView(bytes.buffer);
    const headers = Number(view.getBigUint64(40, seed % 2 === 1));
    const changes = 1 + next(4);
    for (let i = 0; i < changes; i++) {
      // Mostly in the headers and tables, where numbers have a meaning.
      const at = [() => next(64), () => headers + next(bytes.length - headers), () => next(bytes.length)][next(3)]!();
      const place = Math.min(at, bytes.length - 4);
      if (next(2) === 0) view.setUint8(place, next(256));
      else view.setUint32(place, INTERESTING[next(INTERESTING.length)]!, next(2) === 0);
    }
    const before = cpuTime();
    try {
      refused += readAll(bytes) > 0 ? 1 : 0;
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).stack}`);
    }
    slowest = Math.max(slowest, cpuTime() - before);
  }
  assert.ok(slowest < 1000, `the slowest took ${slowest} ms`);
  assert.ok(refused > count / 4, "most changes are found out");
  console.log(`NOTE ${count} changed objects: ${refused} refused, none slower than ${slowest.toFixed(1)} ms`);
});

test.run();
