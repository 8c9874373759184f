/**
 * Our part of bench/btf.bench.ts, in a process of its own because the first use is what counts: FILE NAME. Prints
 * nanoseconds to open, to find and to decode everything, by how many bytes the process grew after finding and after
 * decoding, and by how many it had grown at most by then.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { openBtf } from "../../src/btf/index.ts";

const [, , file, name] = process.argv;
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});
const resident = (): number => {
  collect();
  return process.memoryUsage.rss();
};
/** The most memory this process had since {@link forgetPeak}, in bytes. */
const peak = (): number => 1024 * Number(/VmHWM:\s*(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]);
const forgetPeak = (): void => writeFileSync("/proc/self/clear_refs", "5");
const before = resident();
forgetPeak();
const start = process.hrtime.bigint();
const btf = openBtf(readFileSync(file!));
const opened = process.hrtime.bigint();
const struct = btf.typeByName(name!, "struct");
const found = process.hrtime.bigint();
const peakFind = peak();
const afterFind = resident();
forgetPeak();
const again = process.hrtime.bigint();
let members = struct.members.length;
for (const type of btf.types()) if (type.kind === "struct") members += type.members.length;
const decoded = process.hrtime.bigint();
const peakAll = peak();
const afterAll = resident();
const times = [opened - start, found - opened, decoded - again];
const memory = [afterFind, afterAll, peakFind, peakAll].map((bytes) => bytes - before);
console.log([...times, ...memory, members].join(" "));
