/**
 * Our part of bench/btf.bench.ts, in a process of its own because the first use is what counts: FILE NAME. Prints
 * nanoseconds to open, to find and to decode everything, and by how many bytes the process grew after finding and
 * after decoding.
 */
import { readFileSync } from "node:fs";
import { openBtf } from "../../src/btf/index.ts";

const [, , file, name] = process.argv;
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});
const resident = (): number => {
  collect();
  return process.memoryUsage.rss();
};
const before = resident();
const start = process.hrtime.bigint();
const btf = openBtf(readFileSync(file!));
const opened = process.hrtime.bigint();
const struct = btf.typeByName(name!, "struct");
const found = process.hrtime.bigint();
const afterFind = resident();
const again = process.hrtime.bigint();
let members = struct.members.length;
for (const type of btf.types()) if (type.kind === "struct") members += type.members.length;
const decoded = process.hrtime.bigint();
const afterAll = resident();
console.log(
  `${opened - start} ${found - opened} ${decoded - again} ${afterFind - before} ${afterAll - before} ${members}`,
);
