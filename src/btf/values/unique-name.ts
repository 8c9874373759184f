// Browser-safe.

/**
 * A name that is not taken yet, which it is from then on.
 *
 * @param name what it should be
 * @param taken names that exist, each with the number last tried behind it: a million equal names take a million steps
 * @returns the name, or `name___2`, `name___3`... as bpftool numbers them; a CO-RE loader cuts that off again
 */
export function uniqueName(name: string, taken: Map<string, number>): string {
  let number = taken.get(name);
  let unique = name;
  if (number !== undefined) {
    do {
      number++;
      unique = `${name}___${number}`;
    } while (taken.has(unique));
    taken.set(name, number);
  }
  taken.set(unique, 1);
  return unique;
}
