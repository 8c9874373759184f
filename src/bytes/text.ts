// Browser-safe.

/**
 * Decodes bytes as UTF-8; malformed sequences become U+FFFD and never throw: names in object files and lines in
 * kernel logs are bytes, not text. Hand-written because the core is type-checked without DOM or Node globals, and
 * because almost every name is a few ASCII letters, for which this is faster than `TextDecoder`.
 *
 * @param bytes input; not kept
 * @returns the text
 */
export function decodeUtf8(bytes: Uint8Array): string {
  const length = bytes.length;
  let text = "";
  let chunk: number[] = [];
  let i = 0;
  while (i < length) {
    const first = bytes[i]!;
    let point = 0xfffd;
    let size = 1;
    if (first < 0x80) {
      point = first;
    } else {
      const extra =
        first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2 : first >= 0xf0 && first < 0xf5 ? 3 : 0;
      let value = first & (0x3f >> extra);
      let seen = 0;
      while (seen < extra && i + seen + 1 < length) {
        const next = bytes[i + seen + 1]!;
        if ((next & 0xc0) !== 0x80) break;
        value = (value << 6) | (next & 0x3f);
        seen++;
      }
      const least = extra === 1 ? 0x80 : extra === 2 ? 0x800 : 0x10000;
      if (extra > 0 && seen === extra && value >= least && value <= 0x10ffff && !(value >= 0xd800 && value < 0xe000)) {
        point = value;
        size = extra + 1;
      }
    }
    if (point > 0xffff) chunk.push(0xd800 + ((point - 0x10000) >> 10), 0xdc00 + (point & 0x3ff));
    else chunk.push(point);
    i += size;
    if (chunk.length >= 4096) {
      text += String.fromCharCode.apply(null, chunk);
      chunk = [];
    }
  }
  return text + String.fromCharCode.apply(null, chunk);
}

/**
 * Encodes text as UTF-8.
 *
 * @param text input; lone surrogates become U+FFFD
 * @returns a new array
 */
export function encodeUtf8(text: string): Uint8Array {
  const out: number[] = [];
  for (const char of text) {
    let point = char.codePointAt(0)!;
    if (point >= 0xd800 && point < 0xe000) point = 0xfffd;
    if (point < 0x80) out.push(point);
    else if (point < 0x800) out.push(0xc0 | (point >> 6), 0x80 | (point & 0x3f));
    else if (point < 0x10000) out.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 0x3f), 0x80 | (point & 0x3f));
    else {
      out.push(
        0xf0 | (point >> 18),
        0x80 | ((point >> 12) & 0x3f),
        0x80 | ((point >> 6) & 0x3f),
        0x80 | (point & 0x3f),
      );
    }
  }
  return Uint8Array.from(out);
}

/**
 * Decodes a fixed-size character array up to its first NUL, as the kernel fills `comm` and `name` fields.
 *
 * @param bytes the whole array
 * @returns the text before the first NUL, or all of it
 */
export function decodeCString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return decodeUtf8(end < 0 ? bytes : bytes.subarray(0, end));
}
