import { readFileSync } from "node:fs";

/** Address of a symbol of the kernel. */
export interface KernelSymbol {
  /** Where it is; 0 when the kernel does not tell. */
  readonly address: bigint;
  /** Other places that symbols of the same name are at. */
  readonly others: readonly bigint[];
}

/**
 * Looks symbols up in the kernel's list of them. Clang adds `.llvm.` and a number to static variables: those are found
 * under their own names.
 *
 * @param names names to look for
 * @param read gives the list. Default: `/proc/kallsyms`
 * @returns what was found
 */
export function findKernelSymbols(
  names: ReadonlySet<string>,
  read: () => Uint8Array = () => readFileSync("/proc/kallsyms"),
): Map<string, KernelSymbol> {
  const found = new Map<string, { address: bigint; others: bigint[] }>();
  if (names.size === 0) return found;
  const text = new TextDecoder("latin1").decode(read());
  const add = (name: string, address: bigint): void => {
    const before = found.get(name);
    if (before === undefined) found.set(name, { address, others: [] });
    else if (before.address !== address && !before.others.includes(address)) before.others.push(address);
  };
  // A line is `ffffffff81000000 T name`, with `[module]` behind the names of modules' symbols.
  for (let at = 0; at < text.length; ) {
    let end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    const space = text.indexOf(" ", at);
    if (space > at && space + 3 < end) {
      let stop = space + 3;
      while (stop < end && text.charCodeAt(stop) > 0x20) stop++;
      let name = text.slice(space + 3, stop);
      if (!names.has(name) && text[space + 1] === "d") {
        const suffix = name.indexOf(".llvm.");
        if (suffix > 0) name = name.slice(0, suffix);
      }
      if (names.has(name)) add(name, BigInt(`0x${text.slice(at, space)}`));
    }
    at = end + 1;
  }
  return found;
}
