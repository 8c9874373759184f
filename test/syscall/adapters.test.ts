import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fetchedRuntimes, runtimes } from "../../scripts/runtimes.ts";
import type { BackendName } from "../../src/syscall/backend.ts";
import { adapters } from "../../src/syscall/select.ts";
import { missing, type Requirement, rounds, skip } from "../support/harness.ts";

const test = suite("adapters");
const script = fileURLToPath(new URL("adapter-check.js", import.meta.url));
const root = fileURLToPath(new URL("../../../", import.meta.url));

interface Result {
  readonly output: string;
  readonly code: number | null;
  readonly signal: string | null;
  /** From the last word to the end of the process. */
  readonly millisecondsToExit: number;
}

// A few at a time: they sleep most of the time, but timing under a pile of processes says nothing.
const LIMIT = 4;
let running = 0;
const waiting: (() => void)[] = [];

async function execute(command: readonly string[], adapter: BackendName): Promise<Result> {
  if (running >= LIMIT) await new Promise<void>((resolve) => waiting.push(resolve));
  running++;
  try {
    return await new Promise((resolve, reject) => {
      const [program, ...args] = command;
      const child = spawn(program!, args, {
        cwd: root,
        stdio: ["ignore", "pipe", "pipe"],
        env: {
          ...process.env,
          RAWBPF_FFI: adapter,
          DENO_DIR: `${root}.cache/deno`,
          DENO_NO_UPDATE_CHECK: "1",
          NODE_NO_WARNINGS: "1",
        },
      });
      let output = "";
      let lastWord = 0;
      const hear = (data: Buffer): void => {
        output += data;
        lastWord = performance.now();
      };
      child.stdout.on("data", hear);
      child.stderr.on("data", hear);
      const timer = setTimeout(() => child.kill("SIGKILL"), 240_000);
      child.on("error", reject);
      child.on("close", (code, signal) => {
        clearTimeout(timer);
        resolve({ output, code, signal, millisecondsToExit: performance.now() - lastWord });
      });
    });
  } finally {
    running--;
    waiting.shift()?.();
  }
}

function assertPassed(result: Result): void {
  const failed = result.output.split("\n").filter((line) => line.startsWith("CHECK FAILED"));
  assert.equal(failed, []);
  assert.ok(
    result.output.includes("DONE\n"),
    `did not reach its end (${result.code ?? result.signal}):\n${result.output}`,
  );
  assert.is(result.signal, null, result.output);
  assert.is(result.code, 0, result.output);
  assert.ok(result.millisecondsToExit < 6000, `exited only ${result.millisecondsToExit} ms after its last word`);
}

interface Contestant {
  readonly runtime: string;
  readonly adapter: BackendName;
  readonly command: readonly string[];
}

function commandOf(name: string, path: string): readonly string[] {
  if (name === "deno") return [path, "run", "--allow-all", "--no-lock", "--v8-flags=--expose-gc"];
  return name === "bun" ? [path] : [path, "--expose-gc"];
}

/** The arguments that put an adapter through a scenario. */
function scenarioOf(adapter: BackendName, scenario: string): readonly string[] {
  const count = adapter === "ffi-napi" ? rounds(1000, 20_000) : rounds(3000, 150_000);
  return [script, adapter, scenario, String(count)];
}

const fetched = fetchedRuntimes();
const here: Contestant = {
  runtime: `node${process.versions.node}`,
  adapter: "koffi",
  command: [process.execPath, "--expose-gc"],
};
const contestants: Contestant[] = [here, { ...here, adapter: "ffi-napi" }];
for (const { name, version, path } of fetched) {
  const contestant = {
    runtime: name.startsWith("node") ? `node${version}` : `${name}${version}`,
    command: commandOf(name, path),
  };
  if (name.startsWith("node")) contestants.push({ ...contestant, adapter: "koffi" });
  if (name === "node26") contestants.push({ ...contestant, adapter: "node:ffi" });
  if (name === "bun") contestants.push({ ...contestant, adapter: "bun:ffi" });
  if (name === "deno") contestants.push({ ...contestant, adapter: "deno" });
}

function uringMissing(): string | undefined {
  try {
    const disabled = readFileSync("/proc/sys/kernel/io_uring_disabled", "utf8").trim();
    return disabled === "2" ? "io_uring is switched off (kernel.io_uring_disabled)" : undefined;
  } catch {
    return undefined; // before Linux 6.6 there is no such switch
  }
}

/** Why an adapter over a package cannot be tried, in its own words. */
function missingPackage(name: BackendName, runtime: string): string | undefined {
  if (name !== "koffi" && name !== "ffi-napi") return undefined;
  return runtime.startsWith("node") ? adapters.find((adapter) => adapter.name === name)!.unavailable() : undefined;
}

interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly needs: readonly Requirement[];
  readonly only?: BackendName;
  /** Only in a long run for koffi on another Node than this one, where everything was tried already. */
  readonly long?: boolean;
}
const scenarios: readonly Scenario[] = [
  { name: "calls", title: "calls, errno, integers, memory", needs: ["linux", "bpf"] },
  { name: "watch", title: "waits and wakes", needs: ["linux"] },
  { name: "watch-without-uring", title: "waits and wakes without io_uring", needs: ["linux"], only: "ffi-napi" },
  { name: "hold", title: "a referenced watch keeps the process until closed", needs: ["linux"], long: true },
  { name: "end-idle", title: "an armed watch does not keep the process", needs: ["linux"], long: true },
  { name: "end-busy", title: "the process ends while events arrive", needs: ["linux"] },
  { name: "exit-idle", title: "process.exit while a watch is armed", needs: ["linux"], long: true },
  { name: "exit-busy", title: "process.exit while events arrive", needs: ["linux"], long: true },
  { name: "worker", title: "in a worker thread that is terminated", needs: ["linux"] },
];

for (const { runtime, adapter, command } of contestants) {
  for (const { name, title, needs, only, long } of scenarios) {
    if (only !== undefined && only !== adapter) continue;
    if (long && adapter === "koffi" && runtime !== here.runtime && rounds(0, 1) === 0) continue;
    const label = `${adapter} on ${runtime}: ${title}`;
    const onNode = runtime.startsWith("node");
    const reasons = needs.map(missing).filter((reason) => reason !== undefined);
    const uring = onNode && name === "worker" ? uringMissing() : undefined;
    const reason = [...reasons, missingPackage(adapter, runtime), uring]
      .filter((text) => text !== undefined)
      .join(", ");
    if (reason !== "") {
      skip(test, label, reason);
      continue;
    }
    // Started now, looked at in turn.
    const result = execute([...command, ...scenarioOf(adapter, name)], adapter);
    result.catch(() => {});
    test(label, async () => {
      const done = await result;
      assertPassed(done);
      const figures = [...done.output.matchAll(/^FIGURE (.*)$/gm)].map(([, figure]) => figure);
      if (figures.length > 0) console.log(`\nNOTE ${adapter} on ${runtime}: wake-up ${figures.join(", ")}`);
    });
  }
}

const cli = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
for (const { runtime, adapter, command } of contestants) {
  const label = `${adapter} on ${runtime}: the main job`;
  const reasons = [...["bpf", "sys-admin"].map(missing), missingPackage(adapter, runtime)];
  const reason = reasons.filter((text) => text !== undefined).join(", ");
  if (reason !== "") {
    skip(test, label, reason);
    continue;
  }
  const result = execute([...command, cli, "demo", "--duration", "1"], adapter);
  result.catch(() => {});
  test(label, async () => {
    const { output, code } = await result;
    assert.is(code, 0, output);
    assert.match(output, /^\d+ events, 0 lost/m);
    assert.match(output, /^ +\d+ {2}\/\S*\/true$/m);
  });
}

for (const { name, version } of runtimes) {
  if (fetched.some((one) => one.name === name)) continue;
  skip(test, `adapters on ${name} ${version}`, "needs the runtime: npm run runtimes");
}

test("each adapter says why it cannot be used", () => {
  const reasons = new Map(adapters.map((adapter) => [adapter.name, adapter.unavailable()]));
  assert.is(reasons.get("bun:ffi"), "needs Bun");
  assert.is(reasons.get("deno"), "needs Deno");
  if (Number(process.versions.node.split(".")[0]) < 26) {
    assert.match(reasons.get("node:ffi") ?? "", /^needs Node 26 or newer with node:ffi switched on/);
  }
});

const unavailable: readonly [runtime: string, adapter: BackendName, args: readonly string[], reason: RegExp][] = [
  ["node26", "node:ffi", ["--no-experimental-ffi"], /^needs Node 26 or newer with node:ffi switched on/],
  ["node26", "node:ffi", ["--permission", "--allow-fs-read=*"], /^needs the permission --allow-ffi$/],
  ["deno", "deno", ["run", "--no-lock", "--allow-read", "--allow-env"], /^needs the permission --allow-ffi$/],
  ["deno", "koffi", ["run", "--no-lock", "--allow-read", "--allow-env"], /^needs Node$/],
  ["bun", "node:ffi", [], /^needs Node$/],
];
for (const [runtime, adapter, args, reason] of unavailable) {
  const found = fetched.find(({ name }) => name === runtime);
  if (found === undefined) continue; // counted as skipped above
  test(`${adapter} on ${runtime} ${args.join(" ")}: says why it cannot be used`, async () => {
    const { output } = await execute([found.path, ...args, ...scenarioOf(adapter, "reason")], adapter);
    const said = /^REASON (.*)$/m.exec(output)?.[1];
    assert.match(said ?? output, reason);
  });
}

test.run();
