// Prints the kernel's types twice in one process: nanoseconds of the first time, opening included, and of the second.
import { readFileSync } from "node:fs";
import { openBtf, toC } from "../../src/btf/index.ts";

const bytes = new Uint8Array(readFileSync(process.argv[2]!));
const times: bigint[] = [];
let length = 0;
for (let i = 0; i < 2; i++) {
  const before = process.hrtime.bigint();
  length = toC(openBtf(bytes)).length;
  times.push(process.hrtime.bigint() - before);
}
console.log(`${times.join(" ")} ${length}`);
