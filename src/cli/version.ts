import { readFileSync } from "node:fs";

/** Version of this package, from the nearest `package.json` above this file. */
export function readVersion(): string {
  for (const path of ["../package.json", "../../package.json", "../../../package.json"]) {
    try {
      const text = readFileSync(new URL(path, import.meta.url), "utf8");
      return (JSON.parse(text) as { version: string }).version;
    } catch {
      // The file lies at one depth as source, at another put together, and one deeper when compiled next to the tests.
    }
  }
  return "unknown";
}
