import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as symbols from "../../src/symbols/index.ts";

const test = suite("symbols exports");

test("the module exports these names and no others", () => {
  const wanted = `binaryFromBytes findBinary findKernelSymbols isGlob matchGlob openBinary openBuildIdSymbols openProcessSymbols
    parsePerfMap parseProcessMaps readKernelSymbols readLibraryCache readNotes readPerfMap readProcessMaps
    MAX_USDT_ARGUMENTS USDT_SPEC_SIZES encodeUsdtSpec parseUsdtArguments usdtProbes`;
  assert.equal(Object.keys(symbols).sort(), wanted.trim().split(/\s+/).sort());
});

test.run();
