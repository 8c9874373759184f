import { suite } from "uvu";
import * as assert from "uvu/assert";
import { functionInfos, lineInfos, parseObject } from "../../../src/elf/index.ts";
import { BpfError } from "../../../src/errors.ts";
import { rounds } from "../../support/harness.ts";
import { fixture } from "../build.ts";

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

/** Reads an object as far as one can without a kernel; what is thrown must be an error of this library. */
function attempt(bytes: Uint8Array): BpfError | undefined {
  try {
    for (const program of Object.values(parseObject(bytes).programs)) {
      functionInfos(program);
      lineInfos(program);
    }
    return undefined;
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    return error;
  }
}

for (const name of NAMES) {
  test(`every prefix of ${name} is refused`, () => {
    const bytes = fixture(name);
    for (let length = 0; length < bytes.length; length++) {
      assert.ok(attempt(bytes.subarray(0, length)) !== undefined, `prefix of ${length} bytes`);
    }
  });
}

// A generator of its own, so that a failure can be repeated.
function random(seed: number): (below: number) => number {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const INTERESTING = [
  0, 1, 2, 3, 7, 8, 0x10, 0x7f, 0x80, 0xff, 0xff00, 0xfff1, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
];

/** A few changes, mostly small ones to numbers that mean something. */
function mutate(original: Uint8Array, next: (below: number) => number): Uint8Array {
  const bytes = original.slice();
  const view = new DataView(bytes.buffer);
  const little = bytes[5] === 1;
  const headers = Number(view.getBigUint64(40, little));
  for (let changes = 1 + next(4); changes > 0; changes--) {
    const at = Math.min(
      next(8) === 0 ? headers + next(bytes.length - headers) : 64 + next(bytes.length - 64),
      bytes.length - 8,
    );
    switch (next(5)) {
      case 0:
        view.setUint8(at, next(256));
        break;
      case 1:
        view.setUint8(at, view.getUint8(at) ^ (1 << next(8)));
        break;
      case 2:
        view.setUint32(at & ~3, view.getUint32(at & ~3, little) + next(17) - 8, little);
        break;
      case 3:
        view.setUint32(at & ~3, INTERESTING[next(INTERESTING.length)]!, little);
        break;
      default: {
        // A piece of the file in another place.
        const length = [4, 8, 16, 24][next(4)]!;
        const from = 64 + next(bytes.length - 64 - length);
        bytes.copyWithin(Math.min(at & ~3, bytes.length - length), from & ~3, (from & ~3) + length);
      }
    }
  }
  return bytes;
}

test("random changes give an error of this library or a specification, quickly and without much memory", () => {
  const count = rounds(3000, 100_000);
  const originals = NAMES.map(fixture);
  let slowest = 0;
  let refused = 0;
  const before = process.memoryUsage().rss;
  let memory = 0;
  for (let seed = 1; seed <= count; seed++) {
    const next = random(seed);
    const bytes = mutate(originals[seed % originals.length]!, next);
    const start = performance.now();
    try {
      refused += attempt(bytes) === undefined ? 0 : 1;
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).stack}`);
    }
    slowest = Math.max(slowest, performance.now() - start);
    if (seed % 100 === 0) memory = Math.max(memory, process.memoryUsage().rss - before);
  }
  assert.ok(slowest < 1000, `the slowest took ${slowest} ms`);
  assert.ok(memory < 256 * 2 ** 20, `took ${memory} bytes`);
  assert.ok(refused > count / 4, "most changes are found out");
  assert.ok(refused < count, "some changes do no harm");
  const megabytes = (memory / 2 ** 20).toFixed(0);
  console.log(
    `NOTE ${count} changed objects: ${refused} refused, none slower than ${slowest.toFixed(0)} ms, ${megabytes} MiB`,
  );
});

test.run();
