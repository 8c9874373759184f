import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Test } from "uvu";

/** Root of the repository. */
export const repository: string = fileURLToPath(new URL("../../..", import.meta.url));

/** What a test may need of the machine. Each check gives `undefined` (fine) or the reason why not. */
const checks: Record<string, () => string | undefined> = {
  linux: () => (process.platform === "linux" ? undefined : `needs Linux, this is ${process.platform}`),
  root: () => (process.getuid?.() === 0 ? undefined : "needs root"),
  bpf: () => capability(39, "CAP_BPF") ?? capability(38, "CAP_PERFMON"),
  "net-admin": () => capability(12, "CAP_NET_ADMIN"),
  "sys-admin": () => capability(21, "CAP_SYS_ADMIN"),
  "kernel-btf": () => (existsSync("/sys/kernel/btf/vmlinux") ? undefined : "needs /sys/kernel/btf/vmlinux"),
  gcc: () => tool("gcc"),
  koffi: () => (existsSync("node_modules/koffi") ? undefined : "needs the koffi package"),
};

/** A requirement by name; `tool:NAME` or `tool:NAME>=VERSION` is a program that {@link toolPath} finds. */
export type Requirement = keyof typeof checks | `tool:${string}` | (string & {});

function capability(bit: number, name: string): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  const line = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"));
  const set = BigInt(`0x${line?.[1] ?? "0"}`);
  return ((set >> BigInt(bit)) & 1n) === 1n ? undefined : `needs ${name}`;
}

/**
 * The cache directory of `scripts/debian-tools.sh`, found by the same rule as there.
 *
 * @returns an absolute path, whether or not it exists
 */
export function toolsDirectory(): string {
  if (process.env.RAWBPF_TOOLS) return process.env.RAWBPF_TOOLS;
  const own = join(repository, ".cache/tools");
  const shared = "/var/cache/rawbpf-tools";
  return !existsSync(own) && existsSync(shared) ? shared : own;
}

/** Dotted version that a program reports, `undefined` when it does not start. */
function versionOf(path: string): string | undefined {
  const flag = /(^|\/)go$/.test(path) ? "version" : "--version";
  const result = spawnSync(path, [flag], { encoding: "utf8" });
  if (result.error !== undefined) return undefined;
  return /\d+(\.\d+)+/.exec(result.stdout + result.stderr)?.[0] ?? "0";
}

function atLeast(version: string, minimum: string): boolean {
  const parts = version.split(".").map(Number);
  for (const [i, wanted] of minimum.split(".").map(Number).entries()) {
    const part = parts[i] ?? 0;
    if (part !== wanted) return part > wanted;
  }
  return true;
}

const paths = new Map<string, string | undefined>();

/**
 * Path of a program: the one that `scripts/debian-tools.sh` fetched, else the one in `PATH`.
 *
 * @param name file name, such as `llvm-mc`
 * @param options `minimum`: lowest dotted version that will do, such as `19` or `7.5`
 * @returns `undefined` when there is none, or only an older one
 */
export function toolPath(name: string, options: { readonly minimum?: string } = {}): string | undefined {
  const key = `${name}>=${options.minimum ?? "0"}`;
  if (!paths.has(key)) {
    const candidates = [join(toolsDirectory(), "bin", name), name];
    const fits = (path: string): boolean => {
      if (path !== name && !existsSync(path)) return false;
      const version = versionOf(path);
      return version !== undefined && atLeast(version, options.minimum ?? "0");
    };
    paths.set(key, candidates.find(fits));
  }
  return paths.get(key);
}

function tool(wanted: string): string | undefined {
  const [name, minimum] = wanted.split(">=") as [string, string?];
  const found = toolPath(name, minimum === undefined ? {} : { minimum });
  return found === undefined ? `needs ${name}${minimum === undefined ? "" : ` ${minimum}`}` : undefined;
}

const known = new Map<string, string | undefined>();

/**
 * Why a requirement is not met here.
 *
 * @returns `undefined` when it is met
 */
export function missing(requirement: Requirement): string | undefined {
  if (!known.has(requirement)) {
    const check = requirement.startsWith("tool:") ? () => tool(requirement.slice(5)) : checks[requirement];
    if (check === undefined) throw new Error(`Unknown requirement ${requirement}`);
    known.set(requirement, check());
  }
  return known.get(requirement);
}

/** Registers a test: the callable part of a uvu suite. */
export type Register = (name: string, run: () => void | Promise<void>) => void;

/**
 * The suite's own `test` where every requirement is met, else one that registers a skipped test and says why.
 *
 * @param test uvu suite
 * @param requirements what the tests need
 */
export function requires(test: Test, ...requirements: Requirement[]): Register {
  const reasons = requirements.map(missing).filter((reason) => reason !== undefined);
  if (reasons.length === 0) return (name, run) => void test(name, async () => void (await run()));
  return (name) => {
    console.log(`SKIP ${name}: ${reasons.join(", ")}`);
    test.skip(name, () => {});
  };
}

/** Registers a skipped test with its reason, for a condition that is not a {@link Requirement}. */
export function skip(test: Test, name: string, reason: string): void {
  console.log(`SKIP ${name}: ${reason}`);
  test.skip(name, () => {});
}

/** Open descriptors of kernel BPF objects and perf events of this process, from `/proc`, not from our own books. */
export function kernelDescriptors(): string[] {
  const found: string[] = [];
  for (const name of readdirSync("/proc/self/fd")) {
    let target = "";
    try {
      target = readlinkSync(`/proc/self/fd/${name}`);
    } catch {
      continue; // the descriptor readdir itself used
    }
    if (/bpf|btf|perf_event/.test(target) && !target.startsWith("/")) found.push(`${name} -> ${target}`);
  }
  return found.sort();
}

/** Makes every test of the suite fail when it leaves a BPF or perf descriptor open. */
export function failOnLeaks(test: Test): void {
  let before: string[] = [];
  test.before.each(() => {
    before = kernelDescriptors();
  });
  test.after.each(() => {
    const left = kernelDescriptors().filter((entry) => !before.includes(entry));
    if (left.length > 0) throw new Error(`Descriptors left open: ${left.join("; ")}`);
  });
}

/** How often a randomised test repeats: `short` in a person's run, `long` when `RAWBPF_TEST_LONG=1` (as in CI). */
export function rounds(short: number, long: number): number {
  return process.env.RAWBPF_TEST_LONG === "1" ? long : short;
}

/**
 * CPU time of this process so far, in milliseconds: for limits that must hold on a busy machine too, where the clock on
 * the wall says nothing.
 */
export function cpuTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
