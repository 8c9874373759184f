import { decodeCString } from "../bytes/index.ts";
import { elfReader } from "../elf/errors.ts";

/** A note of an ELF file. */
export interface ElfNote {
  /** Who defines what it means: `GNU`, `stapsdt`. */
  readonly name: string;
  /** Kind of note, by its owner's count. */
  readonly type: number;
  /** What it says: a view. */
  readonly content: Uint8Array;
  /** Where `content` begins in the section, bytes. */
  readonly offset: number;
}

/**
 * Reads the notes of a section or segment.
 *
 * @param bytes of the section
 * @param options byte order, path for errors, offset in the file, alignment of notes (4, or 8 in some segments)
 * @throws ElfError when one reaches past the end
 */
export function readNotes(
  bytes: Uint8Array,
  options: {
    readonly littleEndian?: boolean | undefined;
    readonly path?: string | undefined;
    readonly base?: number | undefined;
    readonly alignment?: number | undefined;
  } = {},
): ElfNote[] {
  const reader = elfReader(bytes, options.littleEndian ?? true, options.path ?? "notes", options.base ?? 0);
  const alignment = options.alignment === 8 ? 8 : 4;
  const align = (): void => {
    const rest = reader.position % alignment;
    if (rest > 0) reader.skip(Math.min(alignment - rest, reader.remaining));
  };
  const notes: ElfNote[] = [];
  while (reader.remaining >= 12) {
    const nameSize = reader.u32();
    const size = reader.u32();
    const type = reader.u32();
    const name = decodeCString(reader.take(nameSize));
    align();
    const offset = reader.position;
    const content = reader.take(size);
    align();
    notes.push({ name, type, content, offset });
  }
  return notes;
}

const NT_GNU_BUILD_ID = 3;

/** The build id among notes, as hex; `undefined` when there is none. */
export function buildIdOf(notes: readonly ElfNote[]): Uint8Array | undefined {
  return notes.find((note) => note.name === "GNU" && note.type === NT_GNU_BUILD_ID)?.content;
}
