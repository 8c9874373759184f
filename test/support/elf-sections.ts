import { Reader } from "../../src/bytes/index.ts";

/**
 * Sections of a 64-bit ELF file by name, found without the library's own reader: what compilers made is then looked at
 * by other means than those under test.
 *
 * @param file bytes of the file
 * @returns views on the file
 */
export function elfSections(file: Uint8Array): Map<string, Uint8Array> {
  const littleEndian = file[5] === 1;
  const reader = new Reader(file, { littleEndian });
  const table = reader.seek(0x28).size64();
  const entrySize = reader.seek(0x3a).u16();
  const count = reader.u16();
  const names = reader.u16();
  const section = (index: number): { name: number; bytes: Uint8Array } => {
    const at = table + index * entrySize;
    const name = reader.seek(at).u32();
    const kind = reader.u32();
    const offset = reader.seek(at + 0x18).size64();
    const size = reader.size64();
    return { name, bytes: kind === 8 ? new Uint8Array(size) : file.subarray(offset, offset + size) };
  };
  const strings = new Reader(section(names).bytes);
  const found = new Map<string, Uint8Array>();
  for (let i = 1; i < count; i++) {
    const { name, bytes } = section(i);
    found.set(strings.cstringAt(name), bytes);
  }
  return found;
}
