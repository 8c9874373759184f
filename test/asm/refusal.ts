import * as assert from "uvu/assert";
import { AsmError } from "../../src/asm/index.ts";

/** The {@link AsmError} that a call throws; anything else fails the test. */
export function refusal(run: () => unknown): AsmError {
  try {
    run();
  } catch (error) {
    if (!(error instanceof AsmError)) throw error;
    assert.ok(error.problems.length > 0);
    return error;
  }
  throw new Error("Expected an AsmError, nothing was thrown");
}
