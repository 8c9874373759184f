// Browser-safe.

import { checkInside } from "./errors.ts";

/** Where the bytes of an ELF file come from: memory, or a file of which only parts are read. */
export interface ElfSource {
  /** Bytes of the whole file. */
  readonly length: number;
  /**
   * Reads a part.
   *
   * @param offset first byte, and `length` bytes: both were checked to lie inside of the file
   * @throws ElfError when the file has become shorter
   */
  read(offset: number, length: number): Uint8Array;
}

/** A file in memory; what is read of it are views. */
export function memorySource(bytes: Uint8Array): ElfSource {
  return {
    length: bytes.length,
    read(offset, length) {
      checkInside(bytes.length, offset, length, "", offset);
      return bytes.subarray(offset, offset + length);
    },
  };
}
