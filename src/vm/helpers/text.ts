// Browser-safe.

import { decodeCString, encodeUtf8, formatIpv4, formatIpv6 } from "../../bytes/index.ts";
import { EINVAL, ERANGE } from "../maps/errno.ts";
import { Permission } from "../memory.ts";
import type { Helper, HelperCall } from "./call.ts";

const MOST_ARGUMENTS = 12;
const MOST_TEXT = 512;

/** Text at an address, as `%s` finds it: up to a NUL, or as far as it may be read. */
function textAt(call: HelperCall, address: bigint): string {
  const { memory } = call;
  if (address > 0x7fff_ffffn) return "(efault)";
  const start = Number(address);
  let end = start;
  while (end - start < MOST_TEXT && memory.allows(end, 1, Permission.read) && memory.bytes[end] !== 0) end++;
  return end === start && !memory.allows(start, 1, Permission.read)
    ? "(efault)"
    : decodeCString(memory.range(start, end - start));
}

function pad(text: string, flags: string, width: number): string {
  if (text.length >= width) return text;
  if (flags.includes("-")) return text.padEnd(width);
  if (!flags.includes("0")) return text.padStart(width);
  const sign = /^[-+]|^0x/.exec(text)?.[0] ?? "";
  return sign + text.slice(sign.length).padStart(width - sign.length, "0");
}

/**
 * What the kernel makes of a format: `%d %i %u %x %X %p %c %s` with `l` and `ll`, `%p` with its extensions for addresses
 * of the internet, flags and width.
 *
 * @param call for memory
 * @param format text with conversions
 * @param values arguments, 64 bits each
 * @returns `undefined` for a conversion that the kernel refuses, or one without argument
 */
export function formatText(call: HelperCall, format: string, values: readonly bigint[]): string | undefined {
  let next = 0;
  let faulty = false;
  const text = format.replace(
    /%(%|([-+ #0]*)(\d*)(?:\.(\d+))?(hh|h|ll|l|z|)(p(?:ks|us|[iI][46]|[BKxsS])?|[diuxXcs])|.|$)/g,
    (
      whole,
      kind: string,
      flags: string,
      width: string,
      precision: string | undefined,
      length: string,
      type: string,
    ) => {
      if (kind === "%") return "%";
      const value = values[next++];
      if (type === undefined || value === undefined) {
        faulty = true;
        return whole;
      }
      const bits =
        length === "ll" || length === "l" || length === "z" ? 64 : length === "hh" ? 8 : length === "h" ? 16 : 32;
      const lay = (text: string): string => pad(text, flags, Number(width));
      switch (type[0]) {
        case "d":
        case "i":
          return lay(BigInt.asIntN(bits, value).toString());
        case "u":
          return lay(BigInt.asUintN(bits, value).toString());
        case "x":
        case "X": {
          const digits = BigInt.asUintN(bits, value).toString(16);
          const hex = `${flags.includes("#") ? "0x" : ""}${digits}`;
          return lay(type === "X" ? hex.toUpperCase() : hex);
        }
        case "c":
          return lay(String.fromCharCode(Number(value & 0xffn)));
        case "s": {
          const found = textAt(call, value);
          return lay(precision === undefined ? found : found.slice(0, Number(precision)));
        }
        default:
          return lay(pointerText(call, type, value));
      }
    },
  );
  return faulty ? undefined : text;
}

function pointerText(call: HelperCall, type: string, value: bigint): string {
  const kind = type.slice(1);
  if (kind === "ks" || kind === "us") return textAt(call, value);
  if (/^[iI][46]$/.test(kind)) {
    const size = kind[1] === "4" ? 4 : 16;
    const at = Number(value & 0xffff_ffffn);
    if (value > 0x7fff_ffffn || !call.memory.allows(at, size, Permission.read)) return "(efault)";
    const bytes = call.memory.range(at, size);
    return size === 4 ? formatIpv4(bytes) : formatIpv6(bytes);
  }
  return value.toString(16).padStart(16, "0");
}

/** The 64-bit arguments in an array of the program. */
function argumentsAt(call: HelperCall, pointer: number, size: number): bigint[] | undefined {
  const bytes = call.size(size);
  if (bytes % 8 !== 0 || bytes / 8 > MOST_ARGUMENTS) return undefined;
  if (bytes === 0) return [];
  const at = call.readable(pointer, bytes);
  return Array.from({ length: bytes / 8 }, (_, i) => call.memory.view.getBigUint64(at + 8 * i, true));
}

/** Writes text and its NUL, as much as fits. */
function putText(call: HelperCall, pointer: number, size: number, text: string): number {
  const bytes = encodeUtf8(text);
  if (size > 0) {
    const into = call.write(pointer, size);
    into.fill(0);
    into.set(bytes.subarray(0, size - 1));
  }
  return bytes.length + 1;
}

/**
 * A number as `strtol` and `strtoul` read it.
 *
 * @returns length of what was read, or a negative errno
 */
function parseNumber(call: HelperCall, signed: boolean): number {
  const size = call.size(2);
  const base = Number(call.u64(3) & 0x1fn);
  if (size === 0 || call.u64(3) > 0x1fn || ![0, 8, 10, 16].includes(base)) return -EINVAL;
  const text = String.fromCharCode(...call.read(1, Math.min(size, 128)));
  const match = /^\s*([-+]?)(0[xX](?=[0-9a-fA-F]))?([0-9a-fA-F]*)/.exec(text)!;
  const [whole, sign, prefix] = match;
  let radix = base;
  if (radix === 0) radix = prefix !== undefined ? 16 : match[3]!.startsWith("0") ? 8 : 10;
  // With a base other than 16 the "0" of "0x" is all there is.
  let digits = prefix !== undefined && radix !== 16 ? "0" : match[3]!;
  const valid = radix === 8 ? /^[0-7]*/ : radix === 10 ? /^[0-9]*/ : /^[0-9a-fA-F]*/;
  digits = valid.exec(digits)![0];
  if (digits === "" || (sign === "-" && !signed)) return -EINVAL;
  let value = 0n;
  for (const digit of digits) value = value * BigInt(radix) + BigInt(Number.parseInt(digit, 16));
  if (sign === "-") value = -value;
  const fits = signed ? BigInt.asIntN(64, value) === value : BigInt.asUintN(64, value) === value;
  if (!fits) return -ERANGE;
  const at = call.writable(4, 8);
  call.memory.view.setBigUint64(at, BigInt.asUintN(64, value), true);
  const length =
    whole.length -
    (prefix !== undefined && radix !== 16 ? whole.length - whole.search(/0/) - 1 : match[3]!.length - digits.length);
  return length;
}

/** Helpers that read and write text. */
export const TEXT_HELPERS: Readonly<Record<string, Helper>> = {
  trace_printk(call) {
    const size = call.size(2);
    const format = decodeCString(call.read(1, size));
    const line = formatText(call, format, [call.u64(3), call.u64(4), call.u64(5)]);
    if (line === undefined) return -EINVAL;
    call.run.world.trace.push(line);
    return encodeUtf8(line).length;
  },
  trace_vprintk(call) {
    const format = decodeCString(call.read(1, call.size(2)));
    const values = argumentsAt(call, 3, 4);
    const line = values && formatText(call, format, values);
    if (line === undefined) return -EINVAL;
    call.run.world.trace.push(line);
    return encodeUtf8(line).length;
  },
  snprintf(call) {
    const values = argumentsAt(call, 4, 5);
    const line = values && formatText(call, call.text(3), values);
    return line === undefined ? -EINVAL : putText(call, 1, call.size(2), line);
  },
  strtol: (call) => parseNumber(call, true),
  strtoul: (call) => parseNumber(call, false),
  strncmp(call) {
    const size = call.size(2);
    const one = call.read(1, size);
    const other = call.readable(3, 1);
    for (let i = 0; i < size; i++) {
      if (i > 0 && !call.memory.allows(other + i, 1, Permission.read)) call.readable(3, i + 1);
      const a = one[i]!;
      const b = call.memory.bytes[other + i]!;
      if (a !== b) return a - b;
      if (a === 0) return 0;
    }
    return 0;
  },
};
