// Browser-safe.

import { Reader } from "../bytes/index.ts";
import { type BpfErrorCode, ElfError } from "../errors.ts";

/** Makes an {@link ElfError} of the form that all of ELF uses. */
export function elfError(code: BpfErrorCode, message: string, path: string, offset?: number, hint?: string): ElfError {
  return new ElfError(code, message, { path, offset, hint });
}

/** A reader whose errors are {@link ElfError}s. */
export function elfReader(bytes: Uint8Array, littleEndian: boolean, path: string, base = 0): Reader {
  return new Reader(bytes, { littleEndian, path, base, error: elfError });
}

/**
 * Checks that `[offset, offset + length)` lies inside a file, without wrapping.
 *
 * @param what what lies there, for the message
 * @param at byte of the file that holds the number at fault
 * @throws ElfError
 */
export function checkInside(
  total: number,
  offset: bigint | number,
  length: bigint | number,
  path: string,
  at: number,
  what = "",
): void {
  if (offset <= total && length <= BigInt(total) - BigInt(offset)) return;
  const whose = what === "" ? "" : ` for ${what}`;
  throw elfError(
    "ERR_TRUNCATED",
    `ELF truncated: need ${length} bytes at offset ${offset}${whose}, file has ${total}`,
    path,
    at,
  );
}

/** How a section is called in paths: `section[3] ".text"`. */
export function sectionPath(section: { readonly index: number; readonly name: string }): string {
  return section.name === "" ? `section[${section.index}]` : `section[${section.index}] "${section.name}"`;
}
