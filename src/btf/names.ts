// Browser-safe.

/**
 * Length of the essential name: what is left of `task_struct___old` without its flavour. The last `___` with a
 * character other than `_` on both sides starts the flavour, as in libbpf.
 *
 * @param name bytes that hold the name
 * @param start first byte of it
 * @param end one behind its last byte
 * @returns bytes of the essential name; `end - start` when there is no flavour
 */
export function essentialLength(name: Uint8Array, start: number, end: number): number {
  for (let i = end - 5; i >= start; i--) {
    if (
      name[i + 2] === 0x5f &&
      name[i + 1] === 0x5f &&
      name[i + 3] === 0x5f &&
      name[i] !== 0x5f &&
      name[i + 4] !== 0x5f
    ) {
      return i + 1 - start;
    }
  }
  return end - start;
}

/**
 * The essential name: a name without its flavour.
 *
 * @param name for example `task_struct___old`
 * @returns for example `task_struct`
 *
 * @example
 * ```ts
 * import { essentialName } from "rawbpf/btf";
 * essentialName("task_struct___v5"); // "task_struct"
 * essentialName("___x"); // "___x"
 * ```
 */
export function essentialName(name: string): string {
  for (let i = name.length - 5; i >= 0; i--) {
    if (name.startsWith("___", i + 1) && name[i] !== "_" && name[i + 4] !== "_") return name.slice(0, i + 1);
  }
  return name;
}
