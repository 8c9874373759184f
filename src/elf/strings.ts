// Browser-safe.

import { decodeUtf8 } from "../bytes/index.ts";
import { SectionType } from "./constants.ts";
import { elfError, sectionPath } from "./errors.ts";
import type { ElfFile, ElfSection } from "./types.ts";

/** How often its own length the names read from one string table may add up to. */
const MOST_OVERLAP = 16;

/** Arguments that a call may have everywhere. */
const CHUNK = 4096;

/**
 * Looks up strings of a string table.
 *
 * @param path whose string it is, for errors
 * @param at byte of the file that holds the offset
 */
export type StringLookup = (offset: number, path: string, at: number) => string;

/**
 * Opens a string table. Each string is decoded once. Strings may share their ends; but a table whose names add up to
 * many times its length is refused, because reading it would take time and memory out of proportion to the file.
 *
 * @param strings the table
 * @param path its name, for errors
 */
export function stringTable(strings: Uint8Array, path: string): StringLookup {
  const decode = decoder(strings);
  const known = new Map<number, string>();
  let budget = MOST_OVERLAP * strings.length;
  return (offset, whose, at) => {
    if (offset === 0 && strings[0] === 0) return "";
    const before = known.get(offset);
    if (before !== undefined) return before;
    if (offset >= strings.length) {
      // An empty table has no string; a name of none is written as 0.
      if (offset === 0) return "";
      throw elfError(
        "ERR_OUT_OF_RANGE",
        `Name offset ${offset} is outside of ${path}, which has ${strings.length} bytes`,
        whose,
        at,
      );
    }
    const end = strings.indexOf(0, offset);
    if (end < 0) {
      throw elfError("ERR_MALFORMED", `Name at offset ${offset} of ${path} has no terminating NUL`, whose, at);
    }
    budget -= end - offset;
    if (budget < 0) {
      throw elfError(
        "ERR_LIMIT",
        `Names of ${path} overlap: they add up to ${MOST_OVERLAP} times its length`,
        whose,
        at,
      );
    }
    const text = decode(offset, end);
    known.set(offset, text);
    return text;
  };
}

/**
 * Opens the string table that a section links to.
 *
 * @param path the section, for errors
 * @throws ElfError when the link leads nowhere or to something else
 */
export function linkedStrings(elf: ElfFile, section: ElfSection): StringLookup {
  const strings = elf.sections[section.link];
  const path = sectionPath(section);
  if (strings === undefined) {
    throw elfError("ERR_OUT_OF_RANGE", `Links to section ${section.link}, there are ${elf.sections.length}`, path);
  }
  if (strings.type !== SectionType.strtab) {
    throw elfError(
      "ERR_MALFORMED",
      `Links to ${sectionPath(strings)} of type ${strings.type}, expected 3 (strtab)`,
      path,
    );
  }
  return stringTable(elf.bytes.subarray(strings.offset, strings.offset + strings.size), sectionPath(strings));
}

/**
 * Decodes strings of a table. Nearly every name is ASCII, and a program has 100,000 of them: cutting them out of one
 * text was measured ten times as fast as making each from its bytes.
 */
function decoder(bytes: Uint8Array): (start: number, end: number) => string {
  let whole: string | undefined;
  return (start, end) => {
    for (let i = start; i < end; i++) if (bytes[i]! >= 0x80) return decodeUtf8(bytes.subarray(start, end));
    if (whole === undefined) {
      whole = "";
      for (let i = 0; i < bytes.length; i += CHUNK) {
        whole += String.fromCharCode.apply(null, bytes.subarray(i, i + CHUNK) as unknown as number[]);
      }
    }
    return whole.slice(start, end);
  };
}
