import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkRepository } from "../../scripts/check-repo.ts";
import { withTree } from "./tree.ts";

const test = suite("repository");

const manifest = {
  scripts: { test: "node run.js", demo: "node demo.js" },
  files: ["dist", "README.md"],
  exports: { "./asm": { types: "./dist/asm/index.d.ts", default: "./dist/asm/index.js" } },
  bin: { rawbpf: "dist/main.js" },
  optionalDependencies: { koffi: "^3.0.0" },
  devDependencies: { uvu: "0.5.6" },
};

/** A tree that keeps every habit. */
const sound: Record<string, string> = {
  "package.json": JSON.stringify(manifest),
  "README.md":
    "Run `npm ci && npm test`, then\n\n    npm run demo\n\nsee [the source](src/main.ts#L1) and `scripts/go.sh`.\n",
  "scripts/go.sh": "#!/bin/sh\nexec /usr/bin/env true >/dev/null\n",
  "src/main.ts": 'export const enumeration = { enum: 6, default: 1 };\nexport const kind = "enum";\n',
  "src/asm/index.ts": "export const a = 1;\n",
  "test/a.test.ts": 'import { suite } from "uvu";\nconst test = suite("a");\ntest("x", () => {});\ntest.run();\n',
};

function told(changed: Record<string, string>): string[] {
  const found = withTree({ ...sound, ...changed }, checkRepository);
  return found.map(({ file, line, message }) => `${file}:${line}: ${message}`);
}

function withManifest(changed: object): Record<string, string> {
  return { "package.json": JSON.stringify({ ...manifest, ...changed }) };
}

test("a sound tree has no violation", () => {
  assert.equal(told({}), []);
});

// In parts, so that the repository passes its own check.
const home = ["", "home", "me", "x"].join("/");
const scratch = ["", "tmp", "x"].join("/");
const host = ["registry", "npmjs", "org"].join(".");
const long = "export {};\n".repeat(900);

const broken: Record<string, [files: Record<string, string>, message: string]> = {
  "path of one machine": [
    { "src/b.ts": `\nexport const p = "${home}";\n` },
    `src/b.ts:2: A path of one machine: "${home.slice(0, 7)}..."`,
  ],
  "path of one machine in a binary file": [
    { "test/fixtures/a.o": `\0\x7fELF\0${home}.c\0` },
    `test/fixtures/a.o:1: A path of one machine: "${home}.c"`,
  ],
  "scratch path in a document": [
    { "docs/a.md": `Look at \`${scratch}\`\n` },
    'docs/a.md:1: A path of one machine: "/tmp/x..."',
  ],
  "registry host in the lock file": [
    { "package-lock.json": `{ "packages": {}, "resolved": "https://${host}/uvu.tgz" }` },
    `package-lock.json:1: The host of a package registry: "${host}"`,
  ],
  "lock file without a platform's package": [
    { "package-lock.json": '{ "packages": { "node_modules/a": { "optionalDependencies": { "a-win32": "1.0.0" } } } }' },
    "package-lock.json:1: No entry for a-win32, which node_modules/a may install: npm ci would refuse",
  ],
  "suite that never runs": [
    { "test/b.test.ts": 'import { suite } from "uvu";\nconst one = suite("a");\none("x", () => {});\n// one.run();\n' },
    'test/b.test.ts:1: The suite "one" is never run: call one.run()',
  ],
  "global test that never runs": [
    { "test/b.test.ts": 'import { test } from "uvu";\ntest("x", () => {});\n' },
    'test/b.test.ts:1: The suite "test" is never run: call test.run()',
  ],
  "test file without a suite": [{ "test/b.test.ts": "export {};\n" }, "test/b.test.ts:1: A test file without a suite"],
  "mark of unfinished work": [
    { "bench/b.ts": "export {};\n/* a\n * TODO more\n */\n" },
    'bench/b.ts:3: Unfinished work: "TODO"',
  ],
  "what is not implemented": [
    { "src/b.ts": 'export function f(): void {\n  throw new Error("Not implemented");\n}\n' },
    'src/b.ts:2: Unfinished work: "Not implemented"',
  ],
  stub: [{ "src/b.ts": "// A stub.\nexport {};\n" }, 'src/b.ts:1: Unfinished work: "stub"'],
  enum: [
    { "src/b.ts": "export const enum Kind {\n  a,\n}\n" },
    'src/b.ts:1: An enum: write "export const Kind = { ... } as const"',
  ],
  "default export": [{ "src/b.ts": "export default 1;\n" }, "src/b.ts:1: A default export: give it a name"],
  "overlong file": [
    { "src/b.ts": long },
    "src/b.ts:900: 900 lines: a file ends below 900, or it holds more than one thing",
  ],
  "npm script that is not there": [
    { "docs/a.md": "    npm run show\n" },
    'docs/a.md:1: No npm script "show" in package.json',
  ],
  "npm command that is not there": [{ "docs/a.md": "`npm demo`\n" }, 'docs/a.md:1: No npm command "demo"'],
  "link to nothing": [{ "docs/a.md": "[a](b.md#c)\n" }, "docs/a.md:1: A link to nothing: b.md#c"],
  "file that is not there": [{ "docs/a.md": "see `src/c.ts`\n" }, "docs/a.md:1: No such file: src/c.ts"],
  "number of an issue": [
    { "docs/a.md": "as issue 7 says\n" },
    "docs/a.md:1: A number of an issue: say what it is about",
  ],
  "inexact version": [
    withManifest({ devDependencies: { uvu: "^0.5.6" } }),
    "package.json:1: The version of uvu is not exact: ^0.5.6",
  ],
  "required dependency": [
    withManifest({ dependencies: { x: "1.0.0" } }),
    "package.json:1: A required runtime dependency: x",
  ],
  "install script": [
    withManifest({ scripts: { ...manifest.scripts, postinstall: "true" } }),
    "package.json:1: A script that runs at installation: postinstall",
  ],
  "entry without a source": [
    withManifest({ exports: { "./btf": "./dist/btf/index.js" } }),
    "package.json:1: No source for ./dist/btf/index.js: src/btf/index.ts",
  ],
  "listed file that is not there": [
    withManifest({ files: ["dist", "NOTICE"] }),
    "package.json:1: The package lists NOTICE, which is not there",
  ],
};
for (const [name, [files, message]] of Object.entries(broken)) {
  test(`violation: ${name}`, () => assert.equal(told(files), [message]));
}

test("generated files may be long", () => {
  assert.equal(told({ "src/b.generated.ts": long }), []);
});

test.run();
