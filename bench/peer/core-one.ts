/**
 * Our part of bench/core.bench.ts, in a process of its own because the first use is what counts: computes the
 * relocations of one program for a kernel's types: OBJECT PROGRAM BTF. Prints nanoseconds from opening the types, the
 * opening of the object left out.
 */
import { readFileSync } from "node:fs";
import { applyFixups, computeFixups, coreRelocationsOf, openBtf } from "../../src/btf/index.ts";
import { openObject } from "../../test/btf/core/object.ts";

const [, , file, name, types] = process.argv;
const object = openObject(new Uint8Array(readFileSync(file!)));
const program = object.programs.find((each) => each.name === name)!;
const asked = coreRelocationsOf(program.instructions);
const start = process.hrtime.bigint();
const targets = [{ name: "vmlinux", btf: openBtf(readFileSync(types!)) }];
const fixups = computeFixups(asked, object.btf, targets);
const relocated = applyFixups(program.instructions, fixups);
console.log(`${process.hrtime.bigint() - start} ${fixups.length} ${relocated.length}`);
