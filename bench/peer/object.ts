/** Loads and attaches an object, and ends, telling its CPU time in ms: a whole process. Argument: path of the object. */
import { readFileSync } from "node:fs";
import { loadObject } from "../../src/object/index.ts";

process.on("exit", () => {
  const { user, system } = process.cpuUsage();
  console.log((user + system) / 1000);
});
const object = loadObject(readFileSync(process.argv[2]!));
const links = object.attach();
if (Object.keys(links.links).length === 0) throw new Error("Nothing was attached");
links.close();
object.close();
