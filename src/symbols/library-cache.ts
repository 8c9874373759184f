import { decodeCString } from "../bytes/index.ts";
import { elfReader } from "../elf/errors.ts";

/** A library that the dynamic linker knows of. */
export interface CachedLibrary {
  /** Name by which programs ask for it: `libc.so.6`. */
  readonly name: string;
  readonly path: string;
  /** Kind of library and machine: low byte 3 for libc6, the next one for the machine. */
  readonly flags: number;
  /** Processors that this build is for, such as `x86-64-v3`; `undefined` when it runs on all. */
  readonly processors: string | undefined;
}

const OLD = "ld.so-1.7.0\0";
const NEW = "glibc-ld.so.cache1.1";
const EXTENSION_MAGIC = 0xeaa42174;
const EXTENSION_BIT = 1 << 30;
const TAG_HWCAPS = 1;

/**
 * Reads the dynamic linker's list of libraries, `/etc/ld.so.cache`: the format of glibc 2.2 and newer, alone or behind
 * the one from before, and that one alone.
 *
 * @param bytes the file
 * @throws ElfError when it is none of them, or reaches past its end
 */
export function readLibraryCache(bytes: Uint8Array): CachedLibrary[] {
  const begins = (text: string, at: number): boolean =>
    at + text.length <= bytes.length && decodeLatin1(bytes.subarray(at, at + text.length)) === text;
  if (begins(NEW, 0)) return readNew(bytes, 0);
  const reader = elfReader(bytes, true, "ld.so.cache");
  if (!begins(OLD, 0)) throw reader.fail("Not a cache of the dynamic linker", 0, "ERR_UNSUPPORTED_FORMAT");
  const count = reader.seek(OLD.length).u32();
  const entries = 16;
  reader.check(entries, count * 12);
  const strings = entries + count * 12;
  const behind = Math.ceil(strings / 8) * 8;
  if (begins(NEW, behind)) return readNew(bytes, behind);
  const found: CachedLibrary[] = [];
  reader.seek(entries);
  for (let i = 0; i < count; i++) {
    const flags = reader.u32();
    const name = reader.u32();
    const path = reader.u32();
    const text = (offset: number): string =>
      decodeCString(reader.sub(strings, bytes.length - strings).bytes.subarray(offset, offset + 4096));
    found.push({ name: text(name), path: text(path), flags, processors: undefined });
  }
  return found;
}

function readNew(bytes: Uint8Array, start: number): CachedLibrary[] {
  // Offsets of strings count from here.
  const cache = bytes.subarray(start);
  const littleEndian = cache[28] !== 3;
  const reader = elfReader(cache, littleEndian, "ld.so.cache", start).seek(NEW.length);
  const count = reader.u32();
  reader.skip(8);
  const extensions = reader.u32();
  reader.skip(12);
  reader.check(reader.position, count * 24);
  const text = (offset: number): string => {
    reader.check(offset, 1);
    return decodeCString(cache.subarray(offset, offset + 4096));
  };
  const processors = readProcessors(cache, littleEndian, extensions, start).map(text);
  const found: CachedLibrary[] = [];
  for (let i = 0; i < count; i++) {
    const flags = reader.u32();
    const name = reader.u32();
    const path = reader.u32();
    reader.skip(4);
    const first = reader.u32();
    const second = reader.u32();
    const [low, high] = littleEndian ? [first, second] : [second, first];
    let level: string | undefined;
    if (high === EXTENSION_BIT) level = processors[low] ?? "unknown";
    else if (low !== 0 || high !== 0) level = `hwcap 0x${((BigInt(high) << 32n) | BigInt(low)).toString(16)}`;
    found.push({ name: text(name), path: text(path), flags, processors: level });
  }
  return found;
}

/** Offsets of the names of processor levels, by their number. */
function readProcessors(cache: Uint8Array, littleEndian: boolean, offset: number, base: number): number[] {
  if (offset === 0) return [];
  const reader = elfReader(cache, littleEndian, "ld.so.cache extensions", base).seek(offset);
  if (reader.u32() !== EXTENSION_MAGIC) return [];
  const count = reader.u32();
  reader.check(reader.position, count * 16);
  for (let i = 0; i < count; i++) {
    const tag = reader.u32();
    reader.skip(4);
    const at = reader.u32();
    const size = reader.u32();
    if (tag !== TAG_HWCAPS) continue;
    const part = reader.sub(at, size);
    return Array.from({ length: Math.floor(size / 4) }, () => part.u32());
  }
  return [];
}

function decodeLatin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
