/**
 * Proves the package as its users get it: packs it, installs the tarball into an empty folder, and imports every entry.
 * Leaves nothing behind but `dist/`, which packing builds.
 *
 *   node .build/scripts/check-package.js [ROOT]
 */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { fetchedRuntimes } from "./runtimes.ts";

/** What this check reads of a `package.json`. */
export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly bin?: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, unknown>>;
  readonly scripts?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** What else than `dist/` the tarball holds. */
const documents: ReadonlySet<string> = new Set([
  "package.json",
  "README.md",
  "CHANGELOG.md",
  "LICENSE",
  "SECURITY.md",
  "ARCHITECTURE.md",
]);

/** File names below an `exports` value: `{ types, default }` or a plain string. */
function targetsOf(value: unknown): string[] {
  if (typeof value === "string") return [value.replace(/^\.\//, "")];
  return Object.values((value ?? {}) as Record<string, unknown>).flatMap(targetsOf);
}

/**
 * What is wrong with the list of files in a tarball.
 *
 * @param files paths inside the package
 * @param manifest its `package.json`
 * @returns one sentence for each problem
 */
export function contentProblems(files: readonly string[], manifest: Manifest): string[] {
  const problems: string[] = [];
  const have = new Set(files);
  for (const name of documents) if (!have.has(name)) problems.push(`${name} is missing`);
  for (const [entry, value] of [...Object.entries(manifest.exports), ...Object.entries(manifest.bin ?? {})]) {
    for (const file of targetsOf(value)) if (!have.has(file)) problems.push(`${file} is missing, which ${entry} names`);
  }
  for (const file of files) {
    if (documents.has(file)) continue;
    if (!file.startsWith("dist/")) problems.push(`${file} does not belong in the package`);
    else if (/(^|\/)(test|bench|scripts|fixtures)\/|\.test\.|\.bench\.|\.tsbuildinfo$/.test(file))
      problems.push(`${file} is not for users`);
    else if (file.endsWith(".ts") && !file.endsWith(".d.ts")) problems.push(`${file} is source, not what was built`);
    // What entries share has no names of its own.
    else if (/^dist\/(shared-[A-Z0-9]+|load-worker)\.js$/.test(file)) continue;
    else if (file.endsWith(".js") && !have.has(file.replace(/\.js$/, ".d.ts"))) problems.push(`${file} has no types`);
  }
  return problems;
}

/**
 * What in a manifest would put code or other packages on a user's machine unasked.
 *
 * @returns one sentence for each problem
 */
export function installProblems(manifest: Manifest): string[] {
  const problems: string[] = [];
  for (const kind of ["dependencies", "peerDependencies"] as const) {
    for (const name of Object.keys(manifest[kind] ?? {}))
      problems.push(`${name} is in ${kind}: nothing may be required`);
  }
  for (const hook of ["preinstall", "install", "postinstall"]) {
    if (manifest.scripts?.[hook] !== undefined) problems.push(`The script ${hook} runs on the user's machine`);
  }
  return problems;
}

/** Why a step does not hold, in words for people: no stack is wanted. */
class Failure extends Error {}

function ensure(problems: readonly string[]): void {
  if (problems.length > 0) throw new Failure(problems.join("\n"));
}

interface Ran {
  readonly stdout: string;
  readonly stderr: string;
}

function run(folder: string, program: string, ...args: string[]): Ran {
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    NO_COLOR: "1",
    FORCE_COLOR: "0",
    npm_config_update_notifier: "false",
  };
  const result = spawnSync(program, args, { cwd: folder, encoding: "utf8", env, stdio: ["ignore", "pipe", "pipe"] });
  if (result.error !== undefined) throw new Failure(`Cannot start ${program}: ${result.error.message}`);
  if (result.status !== 0) {
    const status = result.signal ?? `exit ${result.status}`;
    throw new Failure(`${program} ${args.join(" ")}: ${status}\n${result.stdout}${result.stderr}`.trim());
  }
  return result;
}

/** Imports every entry and prints how many names each one exports; `require` must give the same names. */
function importAll(entries: readonly string[]): string {
  return `import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const problems = [];
for (const entry of ${JSON.stringify(entries)}) {
  const names = Object.keys(await import(entry));
  if (names.length === 0) problems.push(entry + " exports nothing");
  if (process.features.require_module) {
    const required = Object.keys(require(entry)).filter((name) => name !== "__esModule");
    const differ = [...names.filter((n) => !required.includes(n)), ...required.filter((n) => !names.includes(n))];
    if (differ.length > 0) problems.push(entry + ": import and require differ in " + differ.join(", "));
  }
  console.log(entry + ": " + names.length + " names");
}
if (problems.length > 0) {
  console.error(problems.join("\\n"));
  process.exit(1);
}
`;
}

function checkPackage(root: string): boolean {
  const work = realpathSync(mkdtempSync(join(tmpdir(), "rawbpf-package-")));
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
  const entries = Object.keys(manifest.exports).filter((entry) => !entry.endsWith(".json"));
  const specifiers = entries.map((entry) => manifest.name + entry.slice(1));
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const step = (name: string, body: () => string | undefined | void): boolean => {
    const started = performance.now();
    try {
      const detail = body();
      counts.passed++;
      console.log(
        `ok   ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)${detail ? `: ${detail}` : ""}`,
      );
      return true;
    } catch (error) {
      counts.failed++;
      const text = error instanceof Failure ? error.message : String((error as Error).stack);
      console.log(`FAIL ${name}\n${text.replace(/^/gm, "     | ")}`);
      return false;
    }
  };
  const skip = (name: string, reason: string): void => {
    counts.skipped++;
    console.log(`SKIP ${name}: ${reason}`);
  };

  /** An empty project, with the tarball installed. */
  const install = (name: string, tarball: string, ...options: string[]): string => {
    const folder = join(work, name);
    mkdirSync(folder);
    writeFileSync(
      join(folder, "package.json"),
      '{ "name": "user", "version": "1.0.0", "private": true, "type": "module" }\n',
    );
    run(folder, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", ...options, tarball);
    return folder;
  };
  const use = (folder: string, program = process.execPath, ...options: string[]): string => {
    writeFileSync(join(folder, "entries.js"), importAll(specifiers));
    return run(folder, program, ...options, "entries.js")
      .stdout.trim()
      .split("\n")
      .join(", ");
  };
  const command = (folder: string): string => {
    const [name] = Object.keys(manifest.bin ?? {});
    if (name === undefined) throw new Failure("package.json has no bin");
    const program = join(folder, "node_modules/.bin", name);
    const version = run(folder, program, "--version").stdout.trim();
    if (!version.split(/\s+/).includes(manifest.version) && !version.includes(`v${manifest.version}`))
      throw new Failure(`--version printed "${version}", package.json has ${manifest.version}`);
    const help = run(folder, program, "--help").stdout;
    if (!/usage/i.test(help)) throw new Failure(`--help shows no usage:\n${help}`);
    return version;
  };

  try {
    let tarball = "";
    step("nothing is required, nothing runs at installation", () => {
      ensure(installProblems(manifest));
      return undefined;
    });
    step("npm pack holds what users need and no more", () => {
      // The repository's .npmrc ignores scripts: without this, packing would not build.
      const { stdout } = run(root, "npm", "pack", "--json", "--ignore-scripts=false", "--pack-destination", work);
      // What the build prints comes first.
      const [packed] = JSON.parse(stdout.slice(stdout.search(/^\[/m))) as [
        { filename: string; size: number; unpackedSize: number; files: { path: string }[] },
      ];
      tarball = join(work, packed.filename);
      ensure(
        contentProblems(
          packed.files.map((file) => file.path),
          manifest,
        ),
      );
      return `${packed.files.length} files, ${Math.round(packed.size / 1024)} KiB, unpacked ${Math.round(packed.unpackedSize / 1024)} KiB`;
    });
    if (tarball !== "") {
      const bare = join(work, "bare");
      // Offline: it can only succeed when nothing else is needed.
      const installed = step("the tarball installs alone, offline", () => {
        install("bare", tarball, "--omit=optional", "--offline");
        const lock = JSON.parse(readFileSync(join(bare, "package-lock.json"), "utf8")) as {
          packages: Record<string, { hasInstallScript?: boolean }>;
        };
        const own = lock.packages[`node_modules/${manifest.name}`];
        ensure(own?.hasInstallScript === true ? ["npm sees an install script"] : []);
        return undefined;
      });
      if (installed) {
        step(`every entry by import${process.features.require_module ? " and require" : ""}, without koffi`, () =>
          use(bare),
        );
        for (const { name, version, path } of fetchedRuntimes()) {
          const options = name === "deno" ? ["run", "--allow-all"] : [];
          step(`every entry in ${name} ${version}`, () => void use(bare, path, ...options));
        }
        step("the command answers --version and --help", () => command(bare));
        step("the types hold for a strict user", () => {
          const lines = specifiers.map((entry, i) => `import * as e${i} from "${entry}";`);
          const all = `export const entries: readonly unknown[] = [${specifiers.map((_, i) => `e${i}`).join(", ")}];`;
          writeFileSync(join(bare, "user.ts"), [...lines, all, ""].join("\n"));
          mkdirSync(join(bare, "node_modules/@types"), { recursive: true });
          symlinkSync(join(root, "node_modules/@types/node"), join(bare, "node_modules/@types/node"));
          const options = { noEmit: true, strict: true, module: "nodenext", target: "es2022", skipLibCheck: false };
          const lib = ["es2022", "esnext.disposable"];
          const compilerOptions = { ...options, lib, types: ["node"], exactOptionalPropertyTypes: true };
          writeFileSync(join(bare, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["user.ts"] }));
          run(bare, process.execPath, join(root, "node_modules/typescript/bin/tsc"), "-p", ".");
          return undefined;
        });
      }
      let full = "";
      const online = step("the tarball installs with its optional dependency", () => {
        full = install("full", tarball, "--prefer-offline");
        const optional = Object.keys(manifest.optionalDependencies ?? {});
        const missing = optional.filter((name) => !existsSync(join(full, "node_modules", name)));
        ensure(missing.map((name) => `${name} was not installed: is the registry in reach?`));
        return optional.join(", ");
      });
      if (online) {
        step("every entry, with koffi", () => use(full));
        step("the command, with koffi", () => command(full));
      }
      const tools = join(root, "node_modules/.bin");
      step("publint", () => {
        run(root, join(tools, "publint"), "run", tarball, "--strict");
        return undefined;
      });
      step("attw", () => {
        const { stdout } = run(root, join(tools, "attw"), tarball, "--profile", "esm-only", "--no-emoji", "--no-color");
        ensure(/no types|not contain types/i.test(stdout) ? [stdout.trim()] : []);
        return undefined;
      });
    } else skip("everything that needs the tarball", "packing failed");
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0;
}

const program = process.argv[1];
if (program !== undefined && pathToFileURL(realpathSync(program)).href === import.meta.url) {
  process.exitCode = checkPackage(resolve(process.argv[2] ?? ".")) ? 0 : 1;
}
