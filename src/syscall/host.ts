import { readFileSync } from "node:fs";

/** Capabilities that matter to BPF, by their bit. */
const CAPABILITY_BITS = {
  CAP_DAC_READ_SEARCH: 2,
  CAP_NET_ADMIN: 12,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_RESOURCE: 24,
  CAP_PERFMON: 38,
  CAP_BPF: 39,
} as const;

/** A capability that matters to BPF. */
export type Capability = keyof typeof CAPABILITY_BITS;

/** All of them. */
export const capabilities: readonly Capability[] = Object.keys(CAPABILITY_BITS) as Capability[];

/**
 * Reads a small text file of `/proc` or `/sys`.
 *
 * @returns its text without the final newline, or `undefined` when it cannot be read
 */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch {
    return undefined;
  }
}

/**
 * Effective capabilities of this process.
 *
 * @returns the ones it has among {@link capabilities}; `undefined` when `/proc` cannot be read
 */
export function effectiveCapabilities(): ReadonlySet<Capability> | undefined {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readText("/proc/self/status") ?? "");
  if (line === null) return undefined;
  const bits = BigInt(`0x${line[1]}`);
  return new Set(capabilities.filter((name) => ((bits >> BigInt(CAPABILITY_BITS[name])) & 1n) === 1n));
}

/** Version of the running kernel. */
export interface KernelVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
  /** The release as `uname -r` prints it. */
  readonly release: string;
}

/**
 * Reads the version of the running kernel.
 *
 * @returns `undefined` when `/proc` cannot be read
 */
export function kernelVersion(): KernelVersion | undefined {
  const release = readText("/proc/sys/kernel/osrelease");
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release ?? "");
  if (match === null || release === undefined) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0), release };
}

/**
 * Whether the running kernel is older than a version; `false` when its version is unknown.
 *
 * @param major first number
 * @param minor second number
 */
export function kernelOlderThan(major: number, minor: number): boolean {
  const version = kernelVersion();
  if (version === undefined) return false;
  return version.major < major || (version.major === major && version.minor < minor);
}

/** Kernel lockdown, where the kernel has it. */
export type Lockdown = "none" | "integrity" | "confidentiality";

/**
 * Lockdown mode as the security file system shows it.
 *
 * @param securityfs where that is mounted
 * @returns `undefined` when it cannot be read (no lockdown in the kernel, or securityfs is not mounted)
 */
export function lockdown(securityfs = "/sys/kernel/security"): Lockdown | undefined {
  const match = /\[(none|integrity|confidentiality)\]/.exec(readText(`${securityfs}/lockdown`) ?? "");
  return match === null ? undefined : (match[1] as Lockdown);
}

/**
 * Ids of the possible CPUs, as the kernel counts them for per-CPU maps.
 *
 * @returns ascending ids
 */
export function possibleCpus(): readonly number[] {
  return parseCpuList(readText("/sys/devices/system/cpu/possible") ?? "0");
}

/**
 * Ids of the CPUs that are online now.
 *
 * @returns ascending ids
 */
export function onlineCpus(): readonly number[] {
  return parseCpuList(readText("/sys/devices/system/cpu/online") ?? "0");
}

/**
 * Reads a CPU list such as `0,2-3`.
 *
 * @returns ascending ids
 * @throws RangeError for text of another form
 */
export function parseCpuList(text: string): readonly number[] {
  const ids: number[] = [];
  for (const part of text.trim().split(",")) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part);
    if (match === null) throw new RangeError(`"${text}" is no CPU list`);
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last < first || last - first > 65536) throw new RangeError(`"${text}" is no CPU list`);
    for (let id = first; id <= last; id++) ids.push(id);
  }
  return ids;
}
