import { statSync } from "node:fs";
import { parseArgs, styleText } from "node:util";
import { u32, u64 } from "../bytes/index.ts";
import { BpfError } from "../errors.ts";
import { createMap } from "../maps/index.ts";
import {
  capabilities,
  effectiveCapabilities,
  kernelOlderThan,
  kernelVersion,
  type Lockdown,
  lockdown,
  onlineCpus,
  possibleCpus,
  readText,
} from "../syscall/host.ts";
import { mountDetached } from "../syscall/mount.ts";
import { adapters, openBackend } from "../syscall/select.ts";
import { findTracefs, openTracefs } from "../syscall/tracefs.ts";
import { UsageError } from "./commands.ts";
import { readVersion } from "./version.ts";

const HELP = `Usage: rawbpf doctor [--json]

Tells what this machine can do with BPF, and what to do about what it cannot.
Changes nothing. Exit code 1 when something that is needed is missing.

Options:
  --json  one JSON document on stdout

Examples:
  rawbpf doctor
  sudo rawbpf doctor --json
`;

/** How a finding is meant: fine; worth knowing; without it most of BPF does not work. */
export type Verdict = "ok" | "note" | "missing";

/** One thing looked at. */
export interface Finding {
  /** What was looked at. */
  readonly name: string;
  /** How it is. */
  readonly verdict: Verdict;
  /** What was found. */
  readonly value: string;
  /** What to do about it; absent when there is nothing to do. */
  readonly remedy?: string | undefined;
}

/** `rawbpf doctor`. */
export async function doctor(args: readonly string[]): Promise<number> {
  let values: { json?: boolean; help?: boolean };
  try {
    const options = { json: { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;
    values = parseArgs({ args: [...args], options }).values;
  } catch (error) {
    throw new UsageError(`doctor: ${(error as Error).message}`);
  }
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const findings = examine();
  const missing = findings.some((finding) => finding.verdict === "missing");
  if (values.json === true) {
    process.stdout.write(`${JSON.stringify({ rawbpf: readVersion(), ok: !missing, findings }, undefined, 2)}\n`);
  } else {
    for (const finding of findings) process.stdout.write(format(finding));
  }
  return missing ? 1 : 0;
}

/** Looks at everything. Changes nothing on the machine. */
export function examine(): readonly Finding[] {
  if (process.platform !== "linux") {
    const remedy = "the core (assembler, BTF) works here; loading programs needs Linux";
    return [{ name: "system", verdict: "missing", value: process.platform, remedy }];
  }
  return [
    kernel(),
    architecture(),
    ffi(),
    bpfCall(),
    btf(),
    ...capabilityFindings(),
    unprivileged(),
    paranoid(),
    jit(),
    lockdownFinding(),
    tracefs(),
    bpffs(),
    cpus(),
  ].filter((finding) => finding !== undefined);
}

function kernel(): Finding {
  const version = kernelVersion();
  if (version === undefined) return { name: "kernel", verdict: "missing", value: "unknown", remedy: "mount /proc" };
  if (kernelOlderThan(5, 8)) {
    const remedy = "ring buffers and CAP_BPF need Linux 5.8 or newer";
    return { name: "kernel", verdict: "missing", value: version.release, remedy };
  }
  return { name: "kernel", verdict: "ok", value: version.release };
}

function architecture(): Finding {
  const known = process.arch === "x64" || process.arch === "arm64";
  if (known) return { name: "architecture", verdict: "ok", value: process.arch };
  return { name: "architecture", verdict: "missing", value: process.arch, remedy: "needs x86-64 or arm64" };
}

function ffi(): Finding {
  try {
    return { name: "FFI adapter", verdict: "ok", value: openBackend().name };
  } catch (error) {
    const reasons = adapters.map((adapter) => `${adapter.name}: ${adapter.unavailable() ?? "usable"}`).join("; ");
    const remedy = (error as BpfError).hint ?? (error as Error).message;
    return { name: "FFI adapter", verdict: "missing", value: reasons, remedy };
  }
}

/** Creates a map, the least that BPF is needed for, and closes it. */
function bpfCall(): Finding {
  try {
    createMap({ type: "array", key: u32, value: u64, maxEntries: 1 }).close();
    return { name: "bpf()", verdict: "ok", value: "a map can be created" };
  } catch (error) {
    const value = (error as Error).message.split("\n")[0]!;
    const remedy = error instanceof BpfError ? (error.hint ?? "run as root") : undefined;
    return { name: "bpf()", verdict: "missing", value, remedy };
  }
}

function btf(): Finding {
  try {
    const { size } = statSync("/sys/kernel/btf/vmlinux");
    return { name: "kernel BTF", verdict: "ok", value: `/sys/kernel/btf/vmlinux, ${(size / 1e6).toFixed(1)} MB` };
  } catch {
    const remedy = "CO-RE needs a kernel built with CONFIG_DEBUG_INFO_BTF=y, or a BTF file for it";
    return { name: "kernel BTF", verdict: "note", value: "not there", remedy };
  }
}

const CAPABILITY_USES: { readonly [name: string]: string } = {
  CAP_BPF: "maps and programs",
  CAP_PERFMON: "tracing programs, perf events",
  CAP_NET_ADMIN: "network programs (xdp, tc, cgroup)",
  CAP_SYS_ADMIN: "finding objects by id, mounting tracefs and bpffs",
  CAP_SYS_RESOURCE: "raising limits; needed for BPF before Linux 5.11 only",
  CAP_DAC_READ_SEARCH: "reading tracefs as another user than root",
};

function capabilityFindings(): Finding[] {
  const have = effectiveCapabilities();
  if (have === undefined) return [{ name: "capabilities", verdict: "note", value: "unknown", remedy: "mount /proc" }];
  const covered = (name: string): boolean =>
    have.has(name as never) || (have.has("CAP_SYS_ADMIN") && (name === "CAP_BPF" || name === "CAP_PERFMON"));
  return capabilities.map((name) => {
    const use = CAPABILITY_USES[name]!;
    if (covered(name)) return { name, verdict: "ok", value: `there (${use})` };
    const verdict = name === "CAP_BPF" || name === "CAP_PERFMON" ? "missing" : "note";
    if (name === "CAP_SYS_RESOURCE") return { name, verdict, value: `not there (${use})` };
    return { name, verdict, value: `not there (${use})`, remedy: "run as root, or grant it to the process" };
  });
}

function unprivileged(): Finding | undefined {
  const value = readText("/proc/sys/kernel/unprivileged_bpf_disabled");
  if (value === undefined) return undefined;
  const meaning =
    value === "0" ? "unprivileged users may load programs" : "unprivileged users may not use bpf(), as is usual";
  const remedy = value === "0" ? "safer: sysctl kernel.unprivileged_bpf_disabled=2" : undefined;
  const verdict = value === "0" ? "note" : "ok";
  return { name: "kernel.unprivileged_bpf_disabled", verdict, value: `${value} (${meaning})`, remedy };
}

function paranoid(): Finding | undefined {
  const value = readText("/proc/sys/kernel/perf_event_paranoid");
  if (value === undefined) {
    const remedy = "attaching to tracepoints needs a kernel with CONFIG_PERF_EVENTS=y";
    return { name: "kernel.perf_event_paranoid", verdict: "missing", value: "not there", remedy };
  }
  return { name: "kernel.perf_event_paranoid", verdict: "ok", value: `${value} (does not matter with CAP_PERFMON)` };
}

function jit(): Finding | undefined {
  const value = readText("/proc/sys/net/core/bpf_jit_enable");
  if (value === undefined) return undefined;
  const name = "net.core.bpf_jit_enable";
  if (value !== "0") return { name, verdict: "ok", value };
  return { name, verdict: "note", value, remedy: "faster: sysctl net.core.bpf_jit_enable=1" };
}

/** Reads the mode, also where securityfs is not mounted: from a private instance of it. */
function readLockdown(): Lockdown | undefined {
  const mode = lockdown();
  if (mode !== undefined) return mode;
  try {
    const root = mountDetached(openBackend(), "securityfs");
    try {
      return lockdown(`/proc/self/fd/${root.number}`);
    } finally {
      root.close();
    }
  } catch {
    return undefined;
  }
}

function lockdownFinding(): Finding {
  const mode = readLockdown();
  const name = "lockdown";
  if (mode === undefined)
    return { name, verdict: "ok", value: "unknown: the kernel has none, or securityfs is not readable" };
  if (mode === "none") return { name, verdict: "ok", value: mode };
  if (mode === "integrity") {
    return { name, verdict: "note", value: `${mode} (programs may not write user memory; some kernels refuse more)` };
  }
  const remedy = "confidentiality mode forbids reading kernel memory: boot with lockdown=integrity or none";
  return { name, verdict: "missing", value: mode, remedy };
}

function tracefs(): Finding {
  const mounted = findTracefs();
  if (mounted !== undefined) return { name: "tracefs", verdict: "ok", value: `mounted at ${mounted}` };
  try {
    openTracefs(openBackend()).close();
    return { name: "tracefs", verdict: "ok", value: "not mounted, but can be reached without a mount" };
  } catch (error) {
    const remedy = error instanceof BpfError ? error.hint : undefined;
    return { name: "tracefs", verdict: "missing", value: "not mounted", remedy };
  }
}

function bpffs(): Finding {
  const line = (readText("/proc/self/mounts") ?? "").split("\n").find((mount) => mount.split(" ")[2] === "bpf");
  if (line !== undefined) return { name: "bpffs", verdict: "ok", value: `mounted at ${line.split(" ")[1]}` };
  const remedy = "only for pinning: mount -t bpf bpf /sys/fs/bpf";
  return { name: "bpffs", verdict: "note", value: "not mounted", remedy };
}

function cpus(): Finding {
  const value = `${possibleCpus().length} possible, ${onlineCpus().length} online`;
  return { name: "CPUs", verdict: "ok", value };
}

function format(finding: Finding): string {
  const mark = { ok: "ok     ", note: "note   ", missing: "MISSING" }[finding.verdict];
  const colour = { ok: "green", note: "yellow", missing: "red" }[finding.verdict] as "green" | "yellow" | "red";
  const coloured = useColour() ? styleText(colour, mark) : mark;
  const remedy = finding.remedy === undefined ? "" : `\n${" ".repeat(10)}-> ${finding.remedy}`;
  return `${coloured}  ${finding.name}: ${finding.value}${remedy}\n`;
}

function useColour(): boolean {
  return process.stdout.isTTY === true && (process.env.NO_COLOR ?? "") === "";
}
