import { BpfError } from "../errors.ts";
import { type Binary, findBinary, openBinary } from "../symbols/index.ts";

/** Where in a file: a function's name, perhaps with `+` and bytes behind its start; or an offset in the file. */
export type UprobePlace = string | number;

const PT_LOAD = 1;
const PF_X = 1;

/** Resolves the places of one file, opened once. */
export class UprobePlaces {
  /** Path that the kernel is given. */
  readonly path: string;
  #binary: Binary | undefined;

  /**
   * @param name path, program along PATH, or library
   * @param pid process whose view of the file system counts
   * @throws BpfError `ERR_FILE_NOT_FOUND`
   */
  constructor(name: string, pid?: number) {
    this.path = findBinary(name, { pid });
  }

  /** The file, opened when its symbols are first asked for. */
  get binary(): Binary {
    this.#binary ??= openBinary(this.path);
    return this.#binary;
  }

  /**
   * Offset in the file of a place.
   *
   * @param place name or offset
   * @throws BpfError `ERR_SYMBOL_NOT_FOUND` with names that are near, `ERR_SYMBOL_AMBIGUOUS`; ElfError; RangeError
   */
  offsetOf(place: UprobePlace): number {
    if (typeof place === "number") {
      if (!(Number.isSafeInteger(place) && place >= 0)) {
        throw new RangeError(`An offset in a file is a whole number, not ${place}`);
      }
      // The kernel takes any offset, and a probe where nothing is executed is never hit.
      const code = this.binary.segments.some(
        ({ type, flags, offset, fileSize }) =>
          type === PT_LOAD && (flags & PF_X) !== 0 && place >= offset && place < offset + fileSize,
      );
      if (code) return place;
      const message = `There is no code at offset 0x${place.toString(16)} of ${this.path}`;
      throw new BpfError("ERR_ATTACH_TARGET", message, { hint: "give an offset in the file, not an address" });
    }
    const match = /^(.+)\+(0x[0-9a-f]+|\d+)$/i.exec(place);
    if (match === null) return this.binary.functionOffset(place);
    return this.binary.functionOffset(match[1]!) + Number(match[2]);
  }

  /**
   * Offsets of the functions whose names match.
   *
   * @param pattern with `*` and `?`
   * @throws BpfError `ERR_ATTACH_TARGET` when none does
   */
  matching(pattern: string): number[] {
    const offsets = new Set<number>();
    for (const found of this.binary.functions(pattern)) if (!found.indirect) offsets.add(found.offset);
    if (offsets.size === 0) {
      throw new BpfError("ERR_ATTACH_TARGET", `No function of ${this.path} matches "${pattern}"`);
    }
    return [...offsets];
  }
}
