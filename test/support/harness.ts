import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Test } from "uvu";

/** What a test may need of the machine. Each check gives `undefined` (fine) or the reason why not. */
const checks: Record<string, () => string | undefined> = {
  linux: () => (process.platform === "linux" ? undefined : `needs Linux, this is ${process.platform}`),
  root: () => (process.getuid?.() === 0 ? undefined : "needs root"),
  bpf: () => capability(39, "CAP_BPF") ?? capability(38, "CAP_PERFMON"),
  "net-admin": () => capability(12, "CAP_NET_ADMIN"),
  "sys-admin": () => capability(21, "CAP_SYS_ADMIN"),
  "kernel-btf": () => (existsSync("/sys/kernel/btf/vmlinux") ? undefined : "needs /sys/kernel/btf/vmlinux"),
  gcc: () => tool("gcc", "--version"),
  koffi: () => (existsSync("node_modules/koffi") ? undefined : "needs the koffi package"),
};

/** A requirement by name; `tool:NAME` means that a program answers to `--version`. */
export type Requirement = keyof typeof checks | `tool:${string}` | (string & {});

function capability(bit: number, name: string): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  const line = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync("/proc/self/status", "utf8"));
  const set = BigInt(`0x${line?.[1] ?? "0"}`);
  return ((set >> BigInt(bit)) & 1n) === 1n ? undefined : `needs ${name}`;
}

function tool(program: string, flag: string): string | undefined {
  const result = spawnSync(program, [flag], { stdio: "ignore" });
  return result.error === undefined ? undefined : `needs ${program}`;
}

const known = new Map<string, string | undefined>();

/**
 * Why a requirement is not met here.
 *
 * @returns `undefined` when it is met
 */
export function missing(requirement: Requirement): string | undefined {
  if (!known.has(requirement)) {
    const check = requirement.startsWith("tool:") ? () => tool(requirement.slice(5), "--version") : checks[requirement];
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
