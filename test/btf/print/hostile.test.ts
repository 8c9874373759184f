import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Btf, codec, encodeBtf, format, openBtf, toC, toTypeScript } from "../../../src/btf/index.ts";
import { BtfError } from "../../../src/errors.ts";
import { rounds } from "../../support/harness.ts";
import { randomNumbers, randomTypes } from "../support/random.ts";

const test = suite("btf/print/hostile");

/** Types with some words changed, so that little of it means anything. */
function damaged(seed: number): Btf | undefined {
  const below = randomNumbers(seed);
  const bytes = encodeBtf(randomTypes(seed, 30));
  const words = new Uint32Array(bytes.buffer, 24, new DataView(bytes.buffer).getUint32(12, true) / 4);
  for (let i = 1 + below(6); i > 0; i--) {
    const at = below(words.length);
    const word = words[at]!;
    words[at] = [below(40), word + 1, word ^ (1 << below(32)), 0xffffffff, word + below(64)][below(5)]!;
  }
  try {
    return openBtf(bytes);
  } catch (error) {
    assert.ok(error instanceof BtfError, String(error));
    return undefined;
  }
}

/** Runs something that may only fail with a `BtfError`. */
function survives(what: string, run: () => unknown): void {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof BtfError, `${what}: ${(error as Error).stack}`);
  }
}

test("damaged BTF gives errors and nothing else, in little time", () => {
  let made = 0;
  let slowest = 0;
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0x7fffffff }), (seed) => {
      const btf = damaged(seed);
      if (btf === undefined) return;
      const before = performance.now();
      for (let id = 0; id < btf.endId; id++) {
        for (const codegen of [true, false]) {
          survives("codec", () => {
            const { size, decode, encode } = codec(btf, id, { codegen });
            if (size > 1 << 20) return;
            const value = decode(new Uint8Array(size));
            encode(value);
            format(btf, id, value);
            made++;
          });
        }
        survives("toTypeScript", () => toTypeScript(btf, [id]));
        survives("toC", () => toC(btf, [id]));
      }
      survives("toC of all", () => toC(btf));
      slowest = Math.max(slowest, performance.now() - before);
    }),
    { numRuns: rounds(60, 3000) },
  );
  console.log(`NOTE ${made} codecs of damaged types, slowest file ${slowest.toFixed(0)} ms`);
});

test.run();
