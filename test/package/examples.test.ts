import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repository, requires } from "../support/harness.ts";
import { type Example, entryModules, findExamples, moduleOf } from "./example-code.ts";

const test = suite("examples");

const folder = join(repository, ".build/examples");
const support = `
import * as assert from "uvu/assert";
import { format } from "node:util";
export function $equal(actual: unknown, expected: unknown): void { assert.equal(actual, expected); }
export function $throws(run: () => unknown, expected: string): void {
  assert.throws(run, (error: Error & { code?: string }) => error.name === expected || error.code === expected);
}
export function $printed(values: readonly unknown[], expected: string): void { assert.is(format(...values), expected); }
`;

/** What needs a kernel: the folders of the shell, and the kernel's own files. */
const shell = /from "[./]*src\/(syscall|maps|programs|links|object|index)|"\/sys\//;

const entries = new Map<string, { path: string; names: ReadonlySet<string> }>();
for (const [specifier, module] of entryModules(repository)) {
  const compiled = pathToFileURL(join(repository, `.build/src/${module}.js`)).href;
  const names = new Set(Object.keys(await import(compiled)));
  entries.set(specifier, { path: `../src/${module}.js`, names });
}
// The root has nearly every name: an example of the core should not need the shell for it.
const root = entries.get("rawbpf");
if (root !== undefined) {
  entries.delete("rawbpf");
  entries.set("rawbpf", root);
}

const examples = findExamples(repository);
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "support.ts"), support);
writeFileSync(
  join(folder, "tsconfig.json"),
  JSON.stringify({
    extends: "../../tsconfig.base.json",
    compilerOptions: {
      types: ["node"],
      declaration: false,
      isolatedDeclarations: false,
      noUnusedLocals: false,
    },
    include: ["*.ts"],
  }),
);
const modules = examples.map((example, i): [Example, string, string] => {
  const name = `${String(i).padStart(3, "0")}-${example.place.replace(/\W+/g, "-")}`;
  const text = moduleOf(example, entries, "./support.ts");
  writeFileSync(join(folder, `${name}.ts`), text);
  return [example, name, text];
});

const tsc = spawnSync(
  process.execPath,
  [join(repository, "node_modules/typescript/bin/tsc"), "-p", folder, "--pretty", "false"],
  {
    encoding: "utf8",
  },
);

test("there are examples", () => {
  assert.ok(examples.length > 10, `${examples.length} found`);
});

for (const [example, name, text] of modules) {
  test(`${example.place} compiles`, () => {
    const problems = tsc.stdout.split("\n").filter((line) => line.includes(`${name}.ts(`));
    assert.is(problems.join("\n"), "");
  });
  if (!example.run) continue;
  const register = shell.test(text) ? requires(test, "linux", "bpf", "koffi") : test;
  register(`${example.place} does what it says`, async () => {
    const { log, error } = console;
    console.log = console.error = () => {};
    try {
      await import(pathToFileURL(join(folder, `${name}.js`)).href);
    } finally {
      Object.assign(console, { log, error });
    }
  });
}

test("what an example says is checked", async () => {
  const wrong = { place: "x:1", code: "1 + 1; // 3", run: true };
  assert.match(moduleOf(wrong, entries, "./support.ts"), "$equal(1 + 1, 3);");
  const printed = { place: "x:1", code: 'console.log("a", 1); // a 1', run: true };
  assert.match(moduleOf(printed, entries, "./support.ts"), '$printed(["a", 1], "a 1");');
  const thrown = { place: "x:1", code: "f(); // throws EPERM", run: true };
  assert.match(moduleOf(thrown, entries, "./support.ts"), '$throws(() => f(), "EPERM");');
});

test.run();
