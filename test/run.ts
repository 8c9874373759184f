/**
 * Runs every test file in a process of its own, and counts. A file that runs no test is a failure: uvu passes
 * silently when `test.run()` was forgotten.
 *
 *   node .build/test/run.js [--jobs N] [PATTERN...]
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

interface Outcome {
  readonly file: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  readonly output: string;
}

const here = fileURLToPath(new URL(".", import.meta.url));
const limitSeconds = Number(process.env.RAWBPF_TEST_FILE_SECONDS ?? 600);

function sourceOf(compiled: string): string {
  return join(here, "../../test", relative(here, compiled).replace(/js$/, "ts"));
}

function findTests(folder: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...findTests(path));
    // A compiled test whose source was removed is stale.
    else if (entry.name.endsWith(".test.js") && existsSync(sourceOf(path))) found.push(path);
  }
  return found.sort();
}

function runFile(path: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const started = performance.now();
    const child = spawn(process.execPath, [...process.execArgv, "--enable-source-maps", path], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, FORCE_COLOR: "0" },
    });
    let output = "";
    let late = false;
    child.stdout.on("data", (data) => {
      output += data;
    });
    child.stderr.on("data", (data) => {
      output += data;
    });
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, limitSeconds * 1000);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const sum = (word: string): number =>
        [...output.matchAll(new RegExp(`^\\s*${word}:\\s+(\\d+)`, "gm"))].reduce((n, m) => n + Number(m[1]), 0);
      const total = sum("Total");
      const passed = sum("Passed");
      const skipped = sum("Skipped");
      let failed = total - passed;
      if (late) output += `\nEnded after ${limitSeconds} s\n`;
      if (total + skipped === 0) output += "\nNo test ran in this file\n";
      if (failed === 0 && (late || code !== 0 || signal !== null || total + skipped === 0)) failed = 1;
      const seconds = (performance.now() - started) / 1000;
      resolve({ file: relative(here, path), passed, failed, skipped, seconds, output });
    });
  });
}

const args = process.argv.slice(2);
let jobs = Math.max(1, Math.min(4, availableParallelism()));
const patterns: string[] = [];
for (let i = 0; i < args.length; i++) {
  if (args[i] === "--jobs") jobs = Number(args[++i]);
  else patterns.push(args[i]!);
}
const files = findTests(here).filter(
  (file) => patterns.length === 0 || patterns.some((p) => relative(here, file).includes(p)),
);
const outcomes: Outcome[] = [];
let next = 0;
async function work(): Promise<void> {
  while (next < files.length) {
    const outcome = await runFile(files[next++]!);
    outcomes.push(outcome);
    const mark = outcome.failed > 0 ? "FAIL" : "ok  ";
    const skipped = outcome.skipped > 0 ? `, ${outcome.skipped} skipped` : "";
    console.log(`${mark} ${outcome.file} (${outcome.passed} passed${skipped}, ${outcome.seconds.toFixed(1)} s)`);
    // uvu prints its dots on the same line, before or behind.
    for (const [, note] of outcome.output.matchAll(/(?:^|\s)((?:SKIP|NOTE) .*)$/gm)) console.log(`     ${note}`);
    if (outcome.failed > 0) console.log(outcome.output.replace(/^/gm, "     | "));
  }
}
await Promise.all(Array.from({ length: jobs }, work));
const total = (key: "passed" | "failed" | "skipped"): number => outcomes.reduce((n, o) => n + o[key], 0);
const ran = total("passed") + total("failed");
if (ran === 0) console.log("No test ran at all");
console.log(`${total("passed")} passed, ${total("failed") + (ran === 0 ? 1 : 0)} failed, ${total("skipped")} skipped`);
process.exitCode = total("failed") > 0 || ran === 0 ? 1 : 0;
