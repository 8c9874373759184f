// Browser-safe.

import { type Codec, checkRoom, makeCodec } from "./codec.ts";

const IPV4_BYTES = 4;
const IPV6_BYTES = 16;
const PREFIX_LENGTH_BYTES = 4;

/**
 * Reads an IPv4 address in dotted form.
 *
 * @param text such as `192.0.2.1`
 * @returns 4 bytes, first part first
 * @throws RangeError for anything else, leading zeros included: they mean octal to some
 */
export function parseIpv4(text: string): Uint8Array {
  const bytes = ipv4Bytes(text);
  if (bytes === undefined) throw new RangeError(`"${text}" is no IPv4 address`);
  return bytes;
}

function ipv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split(".");
  if (parts.length !== IPV4_BYTES || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256)) {
    return undefined;
  }
  return Uint8Array.from(parts, Number);
}

/**
 * Reads an IPv6 address, also with `::` and with an IPv4 address at its end.
 *
 * @param text such as `2001:db8::1` or `::ffff:192.0.2.1`
 * @returns 16 bytes, first part first
 * @throws RangeError for anything else, a zone (`%eth0`) included
 */
export function parseIpv6(text: string): Uint8Array {
  const bytes = ipv6Bytes(text);
  if (bytes === undefined) throw new RangeError(`"${text}" is no IPv6 address`);
  return bytes;
}

function ipv6Bytes(text: string): Uint8Array | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const groups = [head ?? [], tail ?? []].map((parts, side) => {
    const last = parts.at(-1);
    // An IPv4 address may only stand at the very end.
    if (last?.includes(".") !== true || side !== halves.length - 1) return groupBytes(parts);
    const four = ipv4Bytes(last);
    const before = groupBytes(parts.slice(0, -1));
    return four === undefined || before === undefined ? undefined : [...before, ...four];
  });
  const [first, second] = groups;
  if (first === undefined || second === undefined) return undefined;
  const count = first.length + second.length;
  // "::" stands for at least one group.
  if (halves.length === 1 ? count !== IPV6_BYTES : count > IPV6_BYTES - 2) return undefined;
  const bytes = new Uint8Array(IPV6_BYTES);
  bytes.set(first);
  bytes.set(second, IPV6_BYTES - second.length);
  return bytes;
}

function groupBytes(groups: readonly string[]): number[] | undefined {
  const bytes: number[] = [];
  for (const group of groups) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    const value = Number.parseInt(group, 16);
    bytes.push(value >> 8, value & 0xff);
  }
  return bytes;
}

/** Writes an IPv4 address in dotted form. */
export function formatIpv4(bytes: Uint8Array): string {
  return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
}

/** Writes an IPv6 address as RFC 5952 wants it: lower case, the first of the longest runs of zero groups as `::`. */
export function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${formatIpv4(bytes.subarray(12, 16))}`;
  }
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
    if (end > i) i = end - 1;
  }
  const hex = groups.map((group) => group.toString(16));
  if (start < 0) return hex.join(":");
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + length).join(":")}`;
}

function address(
  size: number,
  parse: (text: string) => Uint8Array,
  format: (bytes: Uint8Array) => string,
): Codec<string> {
  return makeCodec<string>(
    size,
    size === IPV4_BYTES ? 4 : 1,
    (bytes, offset) => {
      checkRoom(bytes, offset, size);
      return format(bytes.subarray(offset, offset + size));
    },
    (text, bytes, offset) => {
      const parsed = parse(String(text));
      checkRoom(bytes, offset, size);
      bytes.set(parsed, offset);
    },
  );
}

function prefix(
  size: number,
  parse: (text: string) => Uint8Array,
  format: (bytes: Uint8Array) => string,
): Codec<string> {
  const total = PREFIX_LENGTH_BYTES + size;
  return makeCodec<string>(
    total,
    4,
    (bytes, offset) => {
      checkRoom(bytes, offset, total);
      let length = 0;
      for (let i = 0; i < PREFIX_LENGTH_BYTES; i++) length += bytes[offset + i]! * 2 ** (8 * i);
      return `${format(bytes.subarray(offset + PREFIX_LENGTH_BYTES, offset + total))}/${length}`;
    },
    (text, bytes, offset) => {
      const [, host, bits] = /^([^/]*)(?:\/(0|[1-9]\d{0,2}))?$/.exec(String(text)) ?? [];
      const length = bits === undefined ? 8 * size : Number(bits);
      if (host === undefined || length > 8 * size) {
        throw new RangeError(`"${text}" is no address with a prefix length of at most ${8 * size}`);
      }
      const parsed = parse(host);
      // Bits behind the prefix mean nothing; kept, they would make two keys of one.
      for (let i = 0; i < size; i++) {
        const kept = Math.max(0, Math.min(8, length - 8 * i));
        parsed[i]! &= 0xff00 >> kept;
      }
      checkRoom(bytes, offset, total);
      bytes[offset] = length;
      bytes.fill(0, offset + 1, offset + PREFIX_LENGTH_BYTES);
      bytes.set(parsed, offset + PREFIX_LENGTH_BYTES);
    },
  );
}

/** An IPv4 address as text, 4 bytes in network order: `192.0.2.1`. */
export const ipv4: Codec<string> = address(IPV4_BYTES, parseIpv4, formatIpv4);

/** An IPv6 address as text, 16 bytes in network order: `2001:db8::1`. */
export const ipv6: Codec<string> = address(IPV6_BYTES, parseIpv6, formatIpv6);

/**
 * Key of an LPM trie for IPv4: a prefix length in 4 bytes and an address, as text: `192.0.2.0/24`. An address alone is
 * one with all 32 bits. Bits behind the prefix are written as zeros.
 *
 * @example
 * ```ts
 * ipv4Prefix.decode(ipv4Prefix.encode("192.0.2.77/24")); // "192.0.2.0/24"
 * ipv4Prefix.decode(ipv4Prefix.encode("192.0.2.77")); // "192.0.2.77/32"
 * ```
 */
export const ipv4Prefix: Codec<string> = prefix(IPV4_BYTES, parseIpv4, formatIpv4);

/** Key of an LPM trie for IPv6: `2001:db8::/32`. See {@link ipv4Prefix}. */
export const ipv6Prefix: Codec<string> = prefix(IPV6_BYTES, parseIpv6, formatIpv6);
