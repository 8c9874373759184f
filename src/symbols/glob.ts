/**
 * Whether a name fits a pattern of shell style: `*` stands for any text, `?` for any one character; all else for itself.
 * Takes time in proportion to the product of both lengths at most, whatever the pattern.
 *
 * @param pattern for example `tcp_*`
 * @param name for example `tcp_connect`
 *
 * @example
 * ```ts
 * import { matchGlob } from "rawbpf/symbols";
 *
 * matchGlob("tcp_*_ack", "tcp_send_ack"); // true
 * ```
 */
export function matchGlob(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  // Where to go on when what follows the last star does not fit: the star takes one more character.
  let star = -1;
  let taken = 0;
  while (n < name.length) {
    const want = pattern[p];
    if (want === "*") {
      star = p++;
      taken = n;
    } else if (want === "?" || want === name[n]) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++taken;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

/** Whether a text has characters that {@link matchGlob} takes for patterns. */
export function isGlob(text: string): boolean {
  return /[*?]/.test(text);
}
