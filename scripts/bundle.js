/**
 * Puts what `tsc` wrote to `dist/` together: one file for each entry of the package and some that several share, in place of
 * one for each source file. Loading hundreds of modules costs more than all else a short program does. Declarations stay
 * as they are, and so do names, so that stacks can be read. Nothing is inlined twice: each class exists once.
 *
 *   node scripts/bundle.js
 */
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const files = Object.values(manifest.exports)
  .map((entry) => entry.default)
  .concat(Object.values(manifest.bin))
  .filter((path) => typeof path === "string" && path.endsWith(".js"))
  .map((path) => path.replace(/^\.\//, ""));
const entries = Object.fromEntries(files.map((path) => [path.replace(/^dist\//, "").replace(/\.js$/, ""), path]));
// Started by name, from the shared files, which lie at the top.
entries["load-worker"] = "dist/object/load-worker.js";

const before = readdirSync(join(root, "dist"), { recursive: true }).filter((name) => name.endsWith(".js"));
const { outputFiles } = await build({
  absWorkingDir: root,
  entryPoints: entries,
  outdir: "dist",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20.19",
  packages: "external",
  chunkNames: "shared-[hash]",
  legalComments: "none",
  logLevel: "warning",
  write: false,
});
for (const name of before) rmSync(join(root, "dist", name));
for (const { path, contents } of outputFiles) writeFileSync(path, contents);
for (const path of Object.values(manifest.bin)) chmodSync(join(root, path), 0o755);
