import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { repository, requires } from "../support/harness.ts";

const test = suite("commands of the README");

const readme = readFileSync(join(repository, "README.md"), "utf8");
const shell = [...readme.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap((block) => block[1]!.trim().split("\n"));
const scripts = (JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as { scripts: object }).scripts;

test("the two commands for a fresh machine are there", () => {
  // The continuous integration runs both as they are written here.
  assert.ok(shell.includes("npm ci && npm run demo"));
  assert.ok(shell.includes("npm ci && npm test"));
});

test("every npm script that the README names exists", () => {
  const named = [...readme.matchAll(/npm run ([\w:-]+)/g)].map((match) => match[1]!);
  assert.ok(named.length > 3);
  for (const name of named) assert.ok(name in scripts, name);
});

for (const line of shell.filter((command) => command.startsWith("npx rawbpf "))) {
  requires(
    test,
    "bpf",
    "koffi",
  )(line, () => {
    const args = line.slice("npx rawbpf ".length).split(" ");
    const child = spawnSync(process.execPath, ["dist/cli/main.js", ...args], { cwd: repository, encoding: "utf8" });
    assert.is(child.status, 0, child.stderr);
    assert.ok(child.stdout.length > 0);
  });
}

requires(
  test,
  "bpf",
  "sys-admin",
  "koffi",
)("the demo's options that the README names", () => {
  const options = /npm run demo -- (--duration) 0 (--trace-syscalls)/.exec(readme);
  assert.ok(options !== null);
  const args = ["dist/cli/main.js", "demo", options![1]!, "1", options![2]!];
  const child = spawnSync(process.execPath, args, { cwd: repository, encoding: "utf8" });
  assert.is(child.status, 0, child.stderr);
  assert.match(child.stderr, /^bpf\(BPF_PROG_LOAD, /m);
});

test.run();
