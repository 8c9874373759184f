/**
 * Runs the tests that need a kernel under several of them, in two emulated machines at once, and makes a table of what
 * works where: from the lines that the tests in test/kernels print.
 *
 *   node .build/scripts/kernels/matrix.js [KERNEL...] [-- PATTERN...]
 *
 * KERNEL is one of the series in test/kernels/feature.ts (default: all), PATTERN part of the path of test files. Writes
 * .build/kernels.json and .build/kernels.md; the last line sums up all tests.
 */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SERIES } from "../../test/kernels/feature.ts";
import { toolPath } from "../../test/support/harness.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const machine = join(root, "scripts/kernels/vm.sh");
// The core and the command line do not ask the kernel for anything that they do not get from these.
const PATTERNS = ["kernels/", "links/", "maps/", "object/", "programs/"];
const MACHINES = 2;
const limitSeconds = process.env.RAWBPF_KERNEL_SECONDS ?? "1500";

interface Outcome {
  readonly kernel: string;
  readonly release: string;
  readonly status: number;
  readonly seconds: number;
  readonly counts: readonly [passed: number, failed: number, skipped: number];
  /** What the tests say of each feature: `yes`, or `no` with the reason. */
  readonly features: { readonly [feature: string]: string };
}

function runUnder(kernel: string, patterns: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const started = performance.now();
    const command = ["sh", "-c", 'uname -r; exec node .build/test/run.js --jobs 1 "$@"', "sh", ...patterns];
    const child = spawn(machine, ["--seconds", limitSeconds, kernel, ...command], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, RAWBPF_KERNEL: kernel },
    });
    let output = "";
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) console.log(`${kernel.padEnd(5)}| ${line}`);
    });
    child.on("close", (code) => {
      const sum = /^(\d+) passed, (\d+) failed, (\d+) skipped$/m.exec(output);
      const features: Record<string, string> = {};
      for (const [, name, answer] of output.matchAll(/NOTE kernel \S+: (.*): (yes|no \(.*\))$/gm))
        features[name!] = answer!;
      resolve({
        kernel,
        release: /^\S+$/m.exec(output)?.[0] ?? "",
        status: code ?? 125,
        seconds: Math.round((performance.now() - started) / 1000),
        counts: sum === null ? [0, 1, 0] : [Number(sum[1]), Number(sum[2]), Number(sum[3])],
        features,
      });
    });
  });
}

/** A table in Markdown: a line for each feature, a column for each kernel. */
function table(outcomes: readonly Outcome[]): string {
  const names = [...new Set(outcomes.flatMap(({ features }) => Object.keys(features)))];
  const cell = ({ features }: Outcome, name: string): string => features[name]?.replace(/ .*/, "") ?? "**fails**";
  const rows = [
    ["", ...outcomes.map(({ release }) => release.replace(/-cloud.*/, ""))],
    ["---", ...outcomes.map(() => "---")],
    ...names.map((name) => [name, ...outcomes.map((outcome) => cell(outcome, name))]),
  ];
  return `${rows.map((row) => `| ${row.join(" | ")} |`).join("\n")}\n`;
}

/** What the machines have no compilers for. */
function compileTargets(): void {
  const to = join(root, ".build/test/kernels");
  const compile = (compiler: string, ...args: string[]): void => {
    const path = toolPath(compiler);
    const built = path === undefined ? undefined : spawnSync(path, args, { cwd: join(root, "test"), stdio: "inherit" });
    if (built?.status !== 0) throw new Error(`Cannot compile ${args.join(" ")}: needs ${compiler}`);
  };
  compile("gcc", "-O1", "links/usdt-target.c", "-o", join(to, "usdt-target"));
  compile("gcc", "-O1", "links/trigger.c", "-o", join(to, "trigger"));
  for (const name of ["scheduler", "replace"]) {
    const flags = ["--target=bpfel", "-mcpu=v3", "-O2", "-g", "-c"];
    compile("clang", ...flags, `kernels/${name}.c`, "-o", join(to, `${name}.o`));
  }
}

async function main(args: readonly string[]): Promise<number> {
  const split = args.indexOf("--");
  const kernels = split < 0 ? args : args.slice(0, split);
  const patterns = split < 0 ? [] : args.slice(split + 1);
  const wanted = kernels.length > 0 ? kernels : SERIES;
  compileTargets();
  const queue = [...wanted];
  const outcomes: Outcome[] = [];
  const work = async (): Promise<void> => {
    for (let kernel = queue.shift(); kernel !== undefined; kernel = queue.shift()) {
      outcomes.push(await runUnder(kernel, patterns.length > 0 ? patterns : PATTERNS));
    }
  };
  await Promise.all(Array.from({ length: MACHINES }, work));
  outcomes.sort((a, b) => wanted.indexOf(a.kernel) - wanted.indexOf(b.kernel));
  writeFileSync(join(root, ".build/kernels.json"), `${JSON.stringify(outcomes, null, 2)}\n`);
  writeFileSync(join(root, ".build/kernels.md"), table(outcomes));
  console.log(`\n${readFileSync(join(root, ".build/kernels.md"), "utf8")}`);
  for (const { kernel, release, status, seconds, counts } of outcomes) {
    const [passed, failed, skipped] = counts;
    console.log(
      `${kernel.padEnd(5)} ${release}: ${passed} passed, ${failed} failed, ${skipped} skipped, ${seconds} s, status ${status}`,
    );
  }
  const total = (index: 0 | 1 | 2): number => outcomes.reduce((sum, { counts }) => sum + counts[index], 0);
  console.log(`${total(0)} passed, ${total(1)} failed, ${total(2)} skipped`);
  return outcomes.every(({ status }) => status === 0) ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
