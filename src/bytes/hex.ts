// Browser-safe.

const DIGITS = "0123456789abcdef";

/**
 * Formats bytes as lower-case hex digits.
 *
 * @param bytes input
 * @param separator text between bytes; default none
 */
export function toHex(bytes: Uint8Array, separator = ""): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]!;
    text += (i > 0 ? separator : "") + DIGITS[byte >> 4]! + DIGITS[byte & 15]!;
  }
  return text;
}

/**
 * Reads hex digits; white space, colons and commas between bytes are passed over.
 *
 * @param text an even number of hex digits
 * @returns a new array
 * @throws RangeError when a character is no hex digit or a digit is missing
 */
export function fromHex(text: string): Uint8Array {
  const digits = text.replace(/[\s:,]/g, "");
  if (digits.length % 2 !== 0) throw new RangeError(`Hex text has an odd number of digits (${digits.length})`);
  const bytes = new Uint8Array(digits.length / 2);
  for (let i = 0; i < bytes.length; i++) {
    const pair = digits.slice(2 * i, 2 * i + 2);
    if (!/^[0-9a-fA-F]{2}$/.test(pair)) throw new RangeError(`"${pair}" is no hex byte (at byte ${i})`);
    bytes[i] = Number.parseInt(pair, 16);
  }
  return bytes;
}

/**
 * A hex dump as `hexdump -C` prints it: offset, sixteen bytes, text.
 *
 * @param bytes input
 * @param base offset shown for the first byte
 * @returns lines, each ending in a newline
 */
export function hexDump(bytes: Uint8Array, base = 0): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 16) {
    const row = bytes.subarray(at, at + 16);
    const hex = `${toHex(row.subarray(0, 8), " ").padEnd(24)} ${toHex(row.subarray(8), " ").padEnd(23)}`;
    let ascii = "";
    for (const byte of row) ascii += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".";
    text += `${(base + at).toString(16).padStart(8, "0")}  ${hex}  |${ascii}|\n`;
  }
  return text;
}
