import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as vm from "../../src/vm/index.ts";

const test = suite("vm exports");

test("the module exports these names and no others", () => {
  assert.equal(Object.keys(vm).sort(), EXPORTS);
});

const EXPORTS = `
Execution HelperCall Machine MachineBloomFilter MachineFault MachineMap MachineProgram MachineQueue MachineRingBuffer
contextFields createMachine machineHelpers
`
  .trim()
  .split(/\s+/)
  .sort();

test.run();
