import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { toolsDirectory } from "./harness.ts";

/** A BPF object found inside of another file. */
export interface ObjectImage {
  /** Name of the file, and the offset in it where it is not the whole file. */
  readonly name: string;
  readonly bytes: Uint8Array;
}

const MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2]);
const EM_BPF = 247;
const ET_REL = 1;

/** Finds the BPF objects in the bytes of a program, library or file: by their headers, in both byte orders. */
export function findObjects(bytes: Buffer, name: string): ObjectImage[] {
  const found: ObjectImage[] = [];
  for (let at = bytes.indexOf(MAGIC); at >= 0; at = bytes.indexOf(MAGIC, at + 1)) {
    if (at + 64 > bytes.length) break;
    const little = bytes[at + 5] === 1;
    const u16 = (offset: number): number =>
      little ? bytes.readUInt16LE(at + offset) : bytes.readUInt16BE(at + offset);
    if (u16(16) !== ET_REL || u16(18) !== EM_BPF) continue;
    const headers = Number(little ? bytes.readBigUInt64LE(at + 40) : bytes.readBigUInt64BE(at + 40));
    // The section headers are the last thing in what compilers and libbpf write.
    const size = headers + u16(58) * u16(60);
    if (at + size > bytes.length) continue;
    found.push({ name: at === 0 ? name : `${name}@${at}`, bytes: new Uint8Array(bytes.subarray(at, at + size)) });
  }
  return found;
}

/** Where `scripts/debian-tools.sh objects` has put the packages. */
function tree(): string {
  return join(toolsDirectory(), "trees/objects");
}

/** Why there are no packages to look into; `undefined` when there are. */
export function missingObjects(): string | undefined {
  return existsSync(tree()) ? undefined : "needs packages with BPF objects: run scripts/debian-tools.sh objects";
}

/** The BPF objects in the packages of `scripts/debian-tools.sh objects`, each once. */
export function installedObjects(): ObjectImage[] {
  const seen = new Set<string>();
  const found: ObjectImage[] = [];
  const visit = (folder: string): void => {
    for (const name of readdirSync(folder).sort()) {
      const path = join(folder, name);
      const status = lstatSync(path);
      if (status.isDirectory()) visit(path);
      else if (status.isFile() && status.size > 64) {
        for (const image of findObjects(readFileSync(path), basename(path))) {
          const key = Buffer.from(image.bytes).toString("latin1");
          if (seen.has(key)) continue;
          seen.add(key);
          found.push(image);
        }
      }
    }
  };
  visit(tree());
  return found;
}
