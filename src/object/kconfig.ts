import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { encodeUtf8 } from "../bytes/index.ts";
import type { KconfigExternSpec } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { type ProbeOptions, probeFeature } from "../syscall/features.ts";
import { kernelVersion } from "../syscall/host.ts";

const TRISTATE: Readonly<Record<string, number>> = { n: 0, m: 1, y: 2 };

/**
 * Version of the running kernel as programs see it: `(major << 16) + (minor << 8) + patch`, the patch at most 255.
 *
 * @returns 0 when it cannot be told
 */
export function kernelVersionCode(): number {
  const version = kernelVersion();
  if (version === undefined) return 0;
  return (version.major << 16) + (version.minor << 8) + Math.min(version.patch, 255);
}

/**
 * Reads the configuration of the running kernel: `/proc/config.gz`, or the file in `/boot`.
 *
 * @returns `undefined` when neither can be read
 */
export function readKernelConfig(): string | undefined {
  const release = kernelVersion()?.release;
  const places: (() => string)[] = [
    () => gunzipSync(readFileSync("/proc/config.gz")).toString("utf8"),
    () => readFileSync(`/boot/config-${release}`, "utf8"),
  ];
  for (const read of places) {
    try {
      return read();
    } catch {
      // The next place.
    }
  }
  return undefined;
}

/**
 * Finds values of a kernel configuration: lines such as `CONFIG_HZ=250`.
 *
 * @param text the configuration
 * @param names which ones
 * @returns as written, by name
 */
export function parseKernelConfig(text: string, names: ReadonlySet<string>): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split("\n")) {
    const equals = line.indexOf("=");
    if (equals <= 0) continue;
    const name = line.slice(0, equals).trim();
    if (names.has(name) && !found.has(name)) found.set(name, line.slice(equals + 1).trim());
  }
  return found;
}

/** Where values come from. */
export interface KconfigSources extends ProbeOptions {
  /** Text of configuration that goes before the kernel's own. */
  readonly text?: string | undefined;
  /** Reads the kernel's configuration; called when something is missing. Default {@link readKernelConfig}. */
  readonly read?: (() => string | undefined) | undefined;
  /** Names in `/proc/kallsyms`, for what has to be looked up there. */
  readonly hasSymbol: (name: string) => boolean;
}

/**
 * Writes the kernel configuration that an object asks for into the contents of its map.
 *
 * @param externs what is asked for
 * @param contents of the map `.kconfig`; written to
 * @param littleEndian byte order
 * @param sources where to look
 * @returns text of each value by name; nothing for those that are weak and not there
 * @throws BpfError `ERR_EXTERN` when a value is missing or does not fit
 */
export function fillKconfig(
  externs: readonly KconfigExternSpec[],
  contents: Uint8Array,
  littleEndian: boolean,
  sources: KconfigSources,
): Map<string, string> {
  const values = new Map<string, string>();
  const wanted = new Set<string>();
  for (const extern of externs) {
    if (!extern.name.startsWith("CONFIG_")) {
      const value = virtualValue(extern, sources);
      if (value !== undefined) values.set(extern.name, value);
    } else wanted.add(extern.name);
  }
  const take = (text: string | undefined): void => {
    if (text === undefined) return;
    for (const [name, value] of parseKernelConfig(text, wanted)) {
      values.set(name, value);
      wanted.delete(name);
    }
  };
  take(sources.text);
  let unread = false;
  if (wanted.size > 0) {
    const text = (sources.read ?? readKernelConfig)();
    unread = text === undefined;
    take(text);
  }
  for (const extern of externs) {
    const value = values.get(extern.name);
    if (value !== undefined) writeValue(extern, value, contents, littleEndian);
    else if (!extern.weak) {
      throw new BpfError("ERR_EXTERN", `Kernel configuration has no ${extern.name}`, {
        hint: unread
          ? "Neither /proc/config.gz nor /boot/config-* can be read: give the configuration as the option kconfig"
          : "Declare it __weak if it may be missing: it is 0 then",
      });
    }
  }
  return values;
}

function virtualValue(extern: KconfigExternSpec, sources: KconfigSources): string | undefined {
  switch (extern.name) {
    case "LINUX_KERNEL_VERSION":
      return String(kernelVersionCode());
    case "LINUX_HAS_BPF_COOKIE":
      return probeFeature("bpf_cookie", sources) === true ? "1" : "0";
    case "LINUX_HAS_SYSCALL_WRAPPER":
      return sources.hasSymbol("__x64_sys_bpf") || sources.hasSymbol("__arm64_sys_bpf") ? "1" : "0";
    default:
      if (extern.weak) return undefined;
      throw new BpfError("ERR_EXTERN", `"${extern.name}" is neither CONFIG_... nor a value that the loader knows`, {
        hint: "Known are LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE and LINUX_HAS_SYSCALL_WRAPPER",
      });
  }
}

function writeValue(extern: KconfigExternSpec, value: string, contents: Uint8Array, littleEndian: boolean): void {
  const { name, offset, size } = extern;
  const fail = (why: string): BpfError =>
    new BpfError("ERR_EXTERN", `Kernel configuration ${name}=${value} does not fit its variable: ${why}`);
  const place = contents.subarray(offset, offset + size);
  if (value.startsWith('"')) {
    if (extern.value !== "string") throw fail("it is an array of char in the kernel's configuration");
    if (value.length < 2 || !value.endsWith('"')) throw fail("the quotation mark at the end is missing");
    // Cut like in libbpf; the last byte is the NUL.
    place.fill(0).set(encodeUtf8(value.slice(1, -1)).subarray(0, size - 1));
    return;
  }
  const tristate = TRISTATE[value];
  if (tristate !== undefined) {
    if (extern.value === "char") place[0] = value.charCodeAt(0);
    else if (extern.value === "tristate") writeInteger(place, BigInt(tristate), littleEndian);
    else if (extern.value === "bool" && value !== "m") place[0] = value === "y" ? 1 : 0;
    else throw fail(value === "m" ? "it needs a tristate or char" : "it needs a bool, tristate or char");
    return;
  }
  let number: bigint;
  try {
    number = value.startsWith("-") ? -BigInt(value.slice(1)) : BigInt(octal(value));
  } catch {
    throw fail("it is no number");
  }
  if (extern.value === "bool") {
    if (number !== 0n && number !== 1n) throw fail("a bool is 0 or 1");
  } else if (extern.value !== "integer" && extern.value !== "char") throw fail("it needs an integer");
  const bits = 8 * size;
  const fits = extern.signed ? BigInt.asIntN(bits, number) === number : BigInt.asUintN(bits, number) === number;
  // 64 bits take every number that 64 bits can hold, as in libbpf.
  if (!fits && !(size === 8 && BigInt.asUintN(64, number) === BigInt.asUintN(64, BigInt.asIntN(64, number)))) {
    throw fail(`it does not fit ${extern.signed ? "a signed" : "an unsigned"} integer of ${size} bytes`);
  }
  writeInteger(place, number, littleEndian);
}

/** C writes octal numbers with a 0 before. */
function octal(text: string): string {
  return /^0[0-7]+$/.test(text) ? `0o${text.slice(1)}` : text;
}

function writeInteger(place: Uint8Array, value: bigint, littleEndian: boolean): void {
  for (let i = 0; i < place.length; i++) {
    const at = littleEndian ? i : place.length - 1 - i;
    place[at] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
}
