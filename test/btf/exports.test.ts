import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as btf from "../../src/btf/index.ts";

const test = suite("btf/exports");

test("the module exports these names and no others", () => {
  assert.equal(Object.keys(btf).sort(), EXPORTS);
});

const EXPORTS = `
CORE_POISON StringTable applyFixup applyFixups codec computeFixups coreRelocation coreRelocationsOf createBtfBuilder
dedupBtf distillBtf downgradeBtf encodeBtf encodeBtfExt encodeFuncInfo encodeLineInfo essentialName format formatRelocation functionInfos
layoutBtf lineInfos mapReferences openBtf readBtfExt referencesOf relocateBtf stringsOfExt subsetBtf toC
toTypeScript typesCompatible validateBtf
`
  .trim()
  .split(/\s+/)
  .sort();

test.run();
