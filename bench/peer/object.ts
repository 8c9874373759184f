/**
 * Loads and attaches an object, and ends, telling its CPU time in ms: a whole process, with what the package ships.
 * Argument: path of the object.
 */
import { readFileSync } from "node:fs";
import type { loadObject as load } from "../../src/object/index.ts";

// Seen from where this file is compiled to.
const shipped = new URL("../../../dist/object/index.js", import.meta.url).href;
const { loadObject } = (await import(shipped)) as { loadObject: typeof load };

process.on("exit", () => {
  const { user, system } = process.cpuUsage();
  console.log((user + system) / 1000);
});
const object = loadObject(readFileSync(process.argv[2]!));
const links = object.attach();
if (Object.keys(links.links).length === 0) throw new Error("Nothing was attached");
links.close();
object.close();
