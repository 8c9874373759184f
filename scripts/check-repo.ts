/**
 * Checks the habits of this repository that neither the compiler nor the linter knows.
 *
 *   node .build/scripts/check-repo.js [ROOT]
 */
import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { SyntaxKind } from "typescript/unstable/ast";
import { isGenerated, isTypeScript, readFiles, runAsProgram, tokens, type Violation } from "./source-files.ts";

/** Lines that a hand-written TypeScript file may have. */
const maximumLines = 900;

interface Manifest {
  readonly scripts?: Readonly<Record<string, string>>;
  readonly files?: readonly string[];
  readonly exports?: Readonly<Record<string, unknown>>;
  readonly bin?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

type Say = (file: string, line: number, message: string) => void;

/** Files that git tracks or would add; every file but the made ones where there is no git. */
function listFiles(root: string): string[] {
  if (existsSync(join(root, ".git"))) {
    const git = spawnSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], { cwd: root });
    if (git.status === 0) {
      const listed = git.stdout.toString("utf8").split("\0").filter(Boolean);
      return listed.filter((path) => lstatSync(join(root, path), { throwIfNoEntry: false })?.isFile()).sort();
    }
  }
  const made = /^(dist|\.build|\.cache|\.git|coverage)\//;
  return readFiles(root, ".", (path) => !made.test(path)).map(({ path }) => path);
}

function eachLine(text: string, run: (line: string, number: number) => void): void {
  for (const [i, line] of text.split("\n").entries()) run(line, i + 1);
}

// Put together from parts, so that this file passes its own check.
const homes = ["work", "home", "root", "Users"];
const machinePath = new RegExp(`(?<![\\w.:@$}/-])/(${homes.join("|")})/[\\w.-]`);
const scratchPath = new RegExp(`(?<![\\w.:@$}/-])/(${["tmp", "var/tmp"].join("|")})/[\\w.-]`);
const registryHost = new RegExp(
  [
    ["registry", "[a-z-]+", "(org|com|dev|io)"],
    ["npmjs", "(org|com)"],
    ["deb", "debian", "org"],
    ["proxy", "golang", "org"],
  ]
    .map((parts) => `\\b${parts.join("\\.")}\\b`)
    .join("|"),
);

function checkText(path: string, text: string, say: Say): void {
  const document = path.endsWith(".md");
  eachLine(text, (line, number) => {
    const found = machinePath.exec(line) ?? (document ? scratchPath.exec(line) : null);
    if (found !== null) say(path, number, `A path of one machine: "${found[0]}..."`);
    const host = registryHost.exec(line);
    if (host !== null) say(path, number, `The host of a package registry: "${host[0]}"`);
    if (document && /\bissue #?\d+\b/i.test(line)) say(path, number, "A number of an issue: say what it is about");
  });
}

/** Fixtures carry the paths of the machine that compiled them, if their script does not map them. */
function checkBinary(path: string, bytes: Buffer, say: Say): void {
  const text = bytes.toString("latin1");
  const found = new RegExp(`(?:^|[^\\x20-\\x7e])(/(?:${homes.join("|")})/[\\x20-\\x7e]+)`).exec(text);
  if (found !== null) say(path, 1, `A path of one machine: "${found[1]}"`);
}

const unfinished = /\b(TODO|FIXME|XXX)\b/;
const unfinishedSource = /\b(not (yet )?implemented|stub(s|bed)?)\b/i;

function checkSource(path: string, text: string, say: Say): void {
  const lines = text.split("\n").length - 1;
  if (!isGenerated(path) && lines >= maximumLines)
    say(path, lines, `${lines} lines: a file ends below ${maximumLines}, or it holds more than one thing`);
  const inSource = path.startsWith("src/");
  // The checks and their tests must name what they look for.
  const namesThem = path === "scripts/check-repo.ts" || path === "test/package/repo.test.ts";
  const found = tokens(text);
  for (const [i, token] of found.entries()) {
    const next = found[i + 1];
    if (token.kind === SyntaxKind.EnumKeyword && next?.kind === SyntaxKind.Identifier && found[i + 2]?.text === "{")
      say(path, token.line, `An enum: write "export const ${next.text} = { ... } as const"`);
    if (inSource && token.kind === SyntaxKind.ExportKeyword && next?.kind === SyntaxKind.DefaultKeyword)
      say(path, token.line, "A default export: give it a name");
    if (namesThem || isGenerated(path)) continue;
    eachLine(token.text, (line, number) => {
      const word = unfinished.exec(line) ?? (inSource ? unfinishedSource.exec(line) : null);
      if (word !== null) say(path, token.line + number - 1, `Unfinished work: "${word[0]}"`);
    });
  }
  if (path.startsWith("test/") && path.endsWith(".test.ts")) checkTest(path, text, say);
}

/** Nothing fails when a suite is never run: its tests are just not there. */
function checkTest(path: string, text: string, say: Say): void {
  const suites = [...text.matchAll(/^(?:export )?const (\w+)(?:: [^=]+)? = suite(?:<[^(]*>)?\(/gm)].map(
    (match) => match[1]!,
  );
  if (/import \{[^}]*\btest\b[^}]*\} from "uvu"/.test(text)) suites.push("test");
  if (suites.length === 0) say(path, 1, "A test file without a suite");
  for (const name of suites) {
    if (!new RegExp(`^${name}\\.run\\(\\);$`, "m").test(text))
      say(path, 1, `The suite "${name}" is never run: call ${name}.run()`);
  }
}

function checkDocument(root: string, path: string, text: string, manifest: Manifest, say: Say): void {
  const builtIn = new Set(["ci", "install", "pack", "init", "link", "publish", "view", "version"]);
  let fenced = false;
  eachLine(text, (line, number) => {
    if (/^\s*```/.test(line)) fenced = !fenced;
    // Prose such as "npm packages" is no command.
    const whole = fenced || /^ {4}/.test(line);
    const code = whole ? [line.replace(/\s#.*$/, "")] : [...line.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
    for (const [, run, name] of code.flatMap((span) => [
      ...span.matchAll(/\bnpm (run (?:--silent |-s )?)?([\w:-]+)/g),
    ])) {
      const script = run !== undefined || name === "test" || name === "start" ? name! : undefined;
      if (script !== undefined && manifest.scripts?.[script] === undefined)
        say(path, number, `No npm script "${script}" in package.json`);
      if (script === undefined && !builtIn.has(name!)) say(path, number, `No npm command "${name}"`);
    }
    for (const [, target] of line.matchAll(/\]\(([^)\s]+)\)/g)) {
      const file = target!.replace(/#.*$/, "");
      if (file === "" || /^[a-z]+:/.test(file)) continue;
      if (!existsSync(join(root, dirname(path), decodeURIComponent(file))))
        say(path, number, `A link to nothing: ${target}`);
    }
    for (const [, file] of line.matchAll(/`(?:node |bash |\.\/)?((?:scripts|src|test|bench|docs|\.ci)\/[\w./-]+)`/g)) {
      if (!existsSync(join(root, normalize(file!)))) say(path, number, `No such file: ${file}`);
    }
  });
}

function checkManifest(root: string, manifest: Manifest, say: Say): void {
  const file = "package.json";
  for (const name of Object.keys(manifest.dependencies ?? {})) say(file, 1, `A required runtime dependency: ${name}`);
  for (const [name, version] of Object.entries(manifest.devDependencies ?? {})) {
    if (!/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) say(file, 1, `The version of ${name} is not exact: ${version}`);
  }
  for (const hook of ["preinstall", "install", "postinstall", "prepare"]) {
    if (manifest.scripts?.[hook] !== undefined) say(file, 1, `A script that runs at installation: ${hook}`);
  }
  const compiled = (path: string): string => path.replace(/^\.?\/?dist\//, "src/").replace(/(\.d)?\.[jt]s$/, ".ts");
  const targets = (value: unknown): string[] =>
    typeof value === "string" ? [value] : Object.values((value ?? {}) as Record<string, unknown>).flatMap(targets);
  for (const target of [...targets(manifest.exports), ...targets(manifest.bin)]) {
    if (!existsSync(join(root, compiled(target)))) say(file, 1, `No source for ${target}: ${compiled(target)}`);
  }
  for (const name of manifest.files ?? []) {
    if (name !== "dist" && !existsSync(join(root, name))) say(file, 1, `The package lists ${name}, which is not there`);
  }
}

/**
 * Where a registry lacks a package for another platform, npm leaves it out of the lock file, and `npm ci` then refuses
 * the lock file everywhere.
 */
function checkLock(text: string, say: Say): void {
  const lock = JSON.parse(text) as {
    readonly packages: Readonly<Record<string, { readonly optionalDependencies?: Readonly<Record<string, string>> }>>;
  };
  for (const [path, { optionalDependencies = {} }] of Object.entries(lock.packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      const places = [`${path === "" ? "" : `${path}/`}node_modules/${name}`, `node_modules/${name}`];
      if (!places.some((place) => place in lock.packages))
        say(
          "package-lock.json",
          1,
          `No entry for ${name}, which ${path || "the package"} may install: npm ci would refuse`,
        );
    }
  }
}

/**
 * Every place that breaks a habit: paths of one machine, registry hosts, suites that never run, unfinished work, enums
 * and default exports, commands and links in documents that lead nowhere, inexact versions, overlong files.
 *
 * @param root directory that holds `package.json`
 */
export function checkRepository(root: string): Violation[] {
  const violations: Violation[] = [];
  const say: Say = (file, line, message) => void violations.push({ file, line, message });
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;
  checkManifest(root, manifest, say);
  for (const path of listFiles(root)) {
    const bytes = readFileSync(join(root, path));
    if (bytes.includes(0)) {
      checkBinary(path, bytes, say);
      continue;
    }
    const text = bytes.toString("utf8");
    checkText(path, text, say);
    if (isTypeScript(path)) checkSource(path, text, say);
    if (path === "package-lock.json") checkLock(text, say);
    if (path.endsWith(".md")) checkDocument(root, path, text, manifest, say);
  }
  return violations;
}

runAsProgram(import.meta.url, checkRepository, "The repository keeps its habits");
