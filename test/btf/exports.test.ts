import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as btf from "../../src/btf/index.ts";

const test = suite("btf/exports");

test("the module exports these names and no others", () => {
  assert.equal(Object.keys(btf).sort(), [
    "StringTable",
    "createBtfBuilder",
    "dedupBtf",
    "distillBtf",
    "downgradeBtf",
    "encodeBtf",
    "encodeBtfExt",
    "encodeFuncInfo",
    "encodeLineInfo",
    "essentialName",
    "layoutBtf",
    "mapReferences",
    "openBtf",
    "readBtfExt",
    "referencesOf",
    "relocateBtf",
    "stringsOfExt",
    "subsetBtf",
    "validateBtf",
  ]);
});

test.run();
