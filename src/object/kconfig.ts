import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { encodeUtf8 } from "../bytes/index.ts";
import type { KconfigExternSpec } from "../elf/index.ts";
import { BpfError } from "../errors.ts";
import { type ProbeOptions, probeFeature } from "../syscall/features.ts";
import { kernelVersion } from "../syscall/host.ts";

/** Numbers as `enum libbpf_tristate` has them. */
const TRISTATE: Readonly<Record<string, number>> = { n: 0, y: 1, m: 2 };

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
 * Finds values of a kernel configuration: lines such as `CONFIG_HZ=250`. Of several values of one name the first counts.
 *
 * @param text the configuration
 * @param names which ones
 * @returns as written, by name
 * @throws BpfError `ERR_EXTERN` for a line that begins with `CONFIG_` and has no value
 */
export function parseKernelConfig(text: string, names: ReadonlySet<string>): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split("\n")) {
    if (!line.startsWith("CONFIG_")) continue;
    const equals = line.indexOf("=");
    if (equals < 0 || equals === line.length - 1) {
      throw new BpfError("ERR_EXTERN", `Kernel configuration has a line without a value: "${line}"`);
    }
    const name = line.slice(0, equals);
    if (names.has(name) && !found.has(name)) found.set(name, line.slice(equals + 1));
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
      return truth(extern, probeFeature("bpf_cookie", sources) === true);
    case "LINUX_HAS_SYSCALL_WRAPPER":
      return truth(extern, sources.hasSymbol("__x64_sys_bpf") || sources.hasSymbol("__arm64_sys_bpf"));
    default:
      if (extern.weak) return undefined;
      throw new BpfError("ERR_EXTERN", `"${extern.name}" is neither CONFIG_... nor a value that the loader knows`, {
        hint: "Known are LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE and LINUX_HAS_SYSCALL_WRAPPER",
      });
  }
}

/** Yes or no, in the words that the type of the variable takes. */
function truth(extern: KconfigExternSpec, value: boolean): string {
  if (extern.value === "bool") return value ? "y" : "n";
  return value ? "1" : "0";
}

/** Writes a value as libbpf does: its first character says what it is. */
function writeValue(extern: KconfigExternSpec, value: string, contents: Uint8Array, littleEndian: boolean): void {
  const { name, offset, size } = extern;
  const fail = (why: string): BpfError =>
    new BpfError("ERR_EXTERN", `Kernel configuration ${name}=${value} does not fit its variable: ${why}`);
  const place = contents.subarray(offset, offset + size);
  const first = value[0] ?? "";
  if (first === '"') {
    if (extern.value !== "string") throw fail("it is an array of char");
    if (value.length < 2 || !value.endsWith('"')) throw fail("the quotation mark at the end is missing");
    // Cut where it is too long; the last byte is the NUL.
    place.fill(0).set(encodeUtf8(value.slice(1, -1)).subarray(0, size - 1));
    return;
  }
  const tristate = TRISTATE[first];
  if (tristate !== undefined) {
    if (extern.value === "char") place[0] = value.charCodeAt(0);
    else if (extern.value === "tristate") writeInteger(place, BigInt(tristate), littleEndian);
    else if (extern.value === "bool" && first !== "m") place[0] = tristate;
    else throw fail(first === "m" ? "it needs a tristate or char" : "it needs a bool, tristate or char");
    return;
  }
  const number = parseNumber(value);
  if (number === undefined) throw fail("it is no number of 64 bits");
  if (extern.value !== "integer" && extern.value !== "char") throw fail("it needs an integer");
  const bits = 8 * size;
  // Numbers are 64 bits with or without a sign: 18446744073709551615 is -1 too.
  const fits =
    size === 8 ||
    (extern.signed
      ? BigInt.asUintN(64, number + (1n << BigInt(bits - 1))) < 1n << BigInt(bits)
      : number >> BigInt(bits) === 0n);
  if (!fits) throw fail(`it does not fit ${extern.signed ? "a signed" : "an unsigned"} integer of ${size} bytes`);
  writeInteger(place, number, littleEndian);
}

/** A number as C's `strtoull` reads it with base 0, of 64 bits: negative ones wrap, octal ones begin with 0. */
function parseNumber(text: string): bigint | undefined {
  const match = /^[ \t\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)$/.exec(text);
  if (match === null) return undefined;
  const [, sign, digits = ""] = match;
  const number = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
  if (number >> 64n !== 0n) return undefined;
  return BigInt.asUintN(64, sign === "-" ? -number : number);
}

function writeInteger(place: Uint8Array, value: bigint, littleEndian: boolean): void {
  for (let i = 0; i < place.length; i++) {
    const at = littleEndian ? i : place.length - 1 - i;
    place[at] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
}
