/**
 * Runs the benchmarks, each file in a process of its own: `bench/*.bench.ts` modules that export `run(report)`, see
 * `report.ts`. A benchmark that throws, or reports nothing, fails the run.
 *
 *   npm run bench -- [--only PATTERN] [--json]
 */
import { fork } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { type Benchmark, machine, type Row } from "./report.ts";

interface Outcome {
  readonly file: string;
  readonly seconds: number;
  readonly rows: readonly Row[];
  /** Why it failed. */
  readonly failure?: string;
}

const here = fileURLToPath(new URL(".", import.meta.url));
const limitSeconds = Number(process.env.RAWBPF_BENCH_FILE_SECONDS ?? 600);

/** The child's part: one module, its rows sent to the parent. */
async function runHere(path: string): Promise<void> {
  const benchmark = (await import(pathToFileURL(path).href)) as Benchmark;
  await benchmark.run((row) => void process.send?.(row));
}

function runFile(file: string, quiet: boolean): Promise<Outcome> {
  return new Promise((resolve) => {
    const started = performance.now();
    const rows: Row[] = [];
    // What a benchmark prints goes to stderr: stdout is for the figures.
    const child = fork(fileURLToPath(import.meta.url), ["--file", join(here, file)], {
      execArgv: ["--expose-gc", "--enable-source-maps"],
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (data) => {
        output += data;
        if (!quiet) process.stderr.write(data);
      });
    }
    child.on("message", (row) => rows.push(row as Row));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill("SIGKILL");
    }, limitSeconds * 1000);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      const seconds = (performance.now() - started) / 1000;
      const name = basename(file, ".bench.js");
      // Shown already, unless quiet.
      const tail = quiet ? `\n${output.trimEnd().split("\n").slice(-15).join("\n")}` : "";
      if (late) resolve({ file: name, seconds, rows, failure: `ended after ${limitSeconds} s${tail}` });
      else if (code !== 0) resolve({ file: name, seconds, rows, failure: `exit ${code ?? signal}${tail}` });
      else if (rows.length === 0) resolve({ file: name, seconds, rows, failure: "reported nothing" });
      else resolve({ file: name, seconds, rows });
    });
  });
}

/** A number for people: three significant digits or more, thousands apart. */
function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}

function table(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.name,
    figure(row.value),
    row.unit,
    row.peer === undefined ? "" : `${row.peer}${row.peerValue === undefined ? "" : ` ${figure(row.peerValue)}`}`,
    row.ratio === undefined ? "" : `${row.ratio.toFixed(2)}x`,
    row.aim === undefined ? "" : `aim ${row.aim}`,
  ]);
  const widths = [0, 1, 2, 3, 4, 5].map((i) => Math.max(0, ...cells.map((line) => line[i]!.length)));
  const padded = (cell: string, i: number): string =>
    i === 1 || i === 4 ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!);
  return cells.map((line) => `  ${line.map(padded).join("  ").trimEnd()}`).join("\n");
}

async function runAll(only: string | undefined, json: boolean): Promise<void> {
  const files = readdirSync(here)
    .filter((file) => file.endsWith(".bench.js") && (only === undefined || file.includes(only)))
    // A compiled benchmark whose source was removed is stale.
    .filter((file) => existsSync(join(here, "../../bench", file.replace(/js$/, "ts"))))
    .sort();
  const where = machine();
  const { version } = JSON.parse(readFileSync(join(here, "../../package.json"), "utf8")) as { version: string };
  if (!json) {
    console.log(`rawbpf ${version}, ${where.runtime}, ${where.kernel}, ${where.architecture}`);
    console.log(`${where.processor}, ${where.cores} cores`);
  }
  const outcomes: Outcome[] = [];
  for (const file of files) {
    const outcome = await runFile(file, json);
    outcomes.push(outcome);
    if (json) continue;
    console.log(`\n${outcome.file} (${outcome.seconds.toFixed(1)} s)`);
    if (outcome.rows.length > 0) console.log(table(outcome.rows));
    if (outcome.failure !== undefined) console.log(`  FAILED: ${outcome.failure}`);
  }
  if (json) console.log(JSON.stringify({ rawbpf: version, ...where, benchmarks: outcomes }, null, 2));
  if (files.length === 0) console.error(only === undefined ? "No benchmark found" : `No benchmark matches ${only}`);
  process.exitCode = files.length === 0 || outcomes.some((outcome) => outcome.failure !== undefined) ? 1 : 0;
}

const { values } = parseArgs({
  options: { json: { type: "boolean", default: false }, only: { type: "string" }, file: { type: "string" } },
});
if (values.file !== undefined) {
  await runHere(values.file);
  process.disconnect?.();
} else await runAll(values.only, values.json);
