import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  applyFixups,
  computeFixups,
  coreRelocationsOf,
  functionInfos,
  lineInfos,
  openBtf,
} from "../../../src/btf/index.ts";
import {
  getVariable,
  linkObjects,
  type ObjectSpec,
  parseObject,
  readElf,
  sectionData,
  writeObject,
} from "../../../src/elf/index.ts";
import { BpfError } from "../../../src/errors.ts";
import { cpuTime, rounds } from "../../support/harness.ts";
import { fixture } from "../build.ts";
import { type Fields, fieldsOf, mutateBytes, mutateFields, random } from "../mutate.ts";

const test = suite("elf/object/hostile");

const NAMES = [
  "packet-count.el.o",
  "packet-count.eb.o",
  "maps.el.o",
  "subprograms.el.o",
  "externs.eb.o",
  "externs.el.o",
  "struct-ops.el.o",
  "variables.el.o",
  "core.el.o",
  "jump-table.el.o",
  "legacy-maps.el.o",
  "no-btf.eb.o",
  "arena.el.o",
];

/** Real objects: from the compiler, linked, and written by this library. */
const ORIGINALS: ReadonlyMap<string, Uint8Array> = new Map([
  ...NAMES.map((name): [string, Uint8Array] => [name, fixture(name)]),
  ["link-a.el.o + link-b.el.o", linkObjects([fixture("link-a.el.o"), fixture("link-b.el.o")])],
  ["externs.el.o, written", writeObject(parseObject(fixture("externs.el.o")))],
]);

const kernel = fixture("core-target.el.o");
const kernelTypes = openBtf(
  sectionData(readElf(kernel), readElf(kernel).sections.find(({ name }) => name === ".BTF")!),
);

/** Runs a step; what is thrown must be an error of this library. */
function attempt(step: () => void): BpfError | undefined {
  try {
    step();
    return undefined;
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return error;
  }
}

/**
 * Whatever one can do with an object without a kernel.
 *
 * @param whole whether to link and write it too, which takes longer
 * @returns whether it was refused when it was read
 */
function tryAll(bytes: Uint8Array, whole: boolean): boolean {
  let spec: ObjectSpec | undefined;
  const refused = attempt(() => {
    spec = parseObject(bytes);
  });
  if (whole) {
    attempt(() => linkObjects([bytes, link]));
    attempt(() => linkObjects([bytes, bytes]));
  }
  if (spec === undefined) return refused !== undefined;
  const { btf, variables, programs } = spec;
  for (const program of Object.values(programs)) {
    functionInfos(program);
    lineInfos(program);
    if (btf === undefined) continue;
    const relocations = coreRelocationsOf(program.instructions);
    for (const target of [btf, kernelTypes]) {
      attempt(() => {
        const fixups = computeFixups(relocations, btf, [{ name: "vmlinux", btf: target }]);
        applyFixups(program.instructions, fixups);
      });
    }
  }
  for (const name of Object.keys(variables)) attempt(() => getVariable(spec!, name));
  if (!whole) return false;
  attempt(() => {
    const written = writeObject(spec!);
    attempt(() => parseObject(written));
  });
  return false;
}

const link = fixture("link-b.el.o");

for (const [name, bytes] of ORIGINALS) {
  test(`every prefix of ${name} is refused`, () => {
    for (let length = 0; length < bytes.length; length++) {
      assert.ok(attempt(() => void parseObject(bytes.subarray(0, length))) !== undefined, `prefix of ${length} bytes`);
    }
  });
}

test("every prefix is refused by the linker", () => {
  const bytes = fixture("link-a.el.o");
  const step = rounds(7, 1);
  for (let length = 0; length < bytes.length; length += step) {
    assert.ok(attempt(() => void linkObjects([link, bytes.subarray(0, length)])) !== undefined, `${length} bytes`);
  }
});

/** Limits of one object: CPU time in milliseconds, bytes of memory. */
const MOST_TIME = 1000;
const MOST_MEMORY = 256 * 2 ** 20;

/** Changes objects by seeds from `RAWBPF_TEST_SEED` on: else the same ones each time, or each day others in long runs. */
function fuzz(what: string, count: number, change: (original: Fields, seed: number) => Uint8Array): void {
  const originals = [...ORIGINALS].map(([name, bytes]) => [name, fieldsOf(bytes)] as const);
  const first = Number(process.env.RAWBPF_TEST_SEED ?? rounds(1, Math.floor(Date.now() / 86_400_000) * 1_000_000));
  let slowest = 0;
  let refused = 0;
  let memory = 0;
  for (let seed = first; seed < first + count; seed++) {
    const [name, fields] = originals[seed % originals.length]!;
    const bytes = change(fields, seed);
    const before = process.memoryUsage.rss();
    const start = cpuTime();
    const where = `RAWBPF_TEST_SEED=${seed}, ${name}`;
    try {
      refused += tryAll(bytes, seed % 4 === 0) ? 1 : 0;
    } catch (error) {
      throw new Error(`${where}: ${(error as Error).stack}`);
    }
    const time = cpuTime() - start;
    const taken = process.memoryUsage.rss() - before;
    assert.ok(time < MOST_TIME, `${where}: took ${time} ms`);
    assert.ok(taken < MOST_MEMORY, `${where}: took ${taken} bytes`);
    slowest = Math.max(slowest, time);
    memory = Math.max(memory, taken);
  }
  assert.ok(refused > count / 10, "many changes are found out");
  assert.ok(refused < count, "some changes do no harm");
  const megabytes = (memory / 2 ** 20).toFixed(0);
  console.log(
    `NOTE ${count} objects with changed ${what} from seed ${first}: ${refused} refused, none took more than ${slowest.toFixed(0)} ms and ${megabytes} MiB`,
  );
}

const count = rounds(800, 50_000);
test("changed bytes are refused or read, linked and written, quickly and without much memory", () => {
  fuzz("bytes", count, ({ bytes }, seed) => mutateBytes(bytes, random(seed)));
});
test("changed numbers are refused or read, linked and written, quickly and without much memory", () => {
  fuzz("numbers", count, (fields, seed) => mutateFields(fields, random(seed)));
});

test.run();
