import type { Btf, BtfStruct, BtfUnion } from "../../src/btf/index.ts";
import type { FieldLayout, FieldType } from "../../src/kernel-abi/index.ts";

/** The fields of a struct, those of anonymous members beside the others, named inner structs with a dot. */
export function* fieldsOf(
  btf: Btf,
  struct: BtfStruct | BtfUnion,
  pointers: RegExp | undefined,
  base = 0,
  prefix = "",
): Generator<[string, FieldLayout]> {
  for (const member of struct.members) {
    const bit = base + member.bitOffset;
    const type = btf.resolve(member.type);
    const name = prefix + member.name;
    if (type.kind === "struct" || type.kind === "union") {
      yield* fieldsOf(btf, type, pointers, bit, member.name === "" ? prefix : `${name}.`);
    } else if (member.name === "" || /reserved|_res$/.test(member.name)) {
      // Newer kernels give reserved bytes and bits a meaning; nobody is to write them.
    } else if (member.bitfieldSize > 0) {
      const size = btf.sizeOf(member.type);
      const offset = Math.floor(bit / 8 / size) * size;
      yield [name, { offset, size, type: "bits", shift: bit - 8 * offset, bits: member.bitfieldSize }];
    } else {
      yield [name, fieldOf(btf, member.type, member.name, bit / 8, pointers)];
    }
  }
}

function fieldOf(btf: Btf, id: number, name: string, offset: number, pointers: RegExp | undefined): FieldLayout {
  const type = btf.resolve(id);
  const size = btf.sizeOf(id);
  if (type.kind === "array") {
    const element = btf.resolve(type.type);
    const each = btf.sizeOf(type.type);
    if (element.kind !== "int") return { offset, size, type: "bytes" };
    if (each === 1) return { offset, size, type: isText(btf, type.type) ? "chars" : "bytes" };
    return { offset, size, type: integerType(each, element.signed), count: type.length };
  }
  if (type.kind === "ptr") return { offset, size, type: "pointer" };
  if (type.kind === "int" || type.kind === "enum") {
    if (size === 4 && /(^|_)fd$/.test(name)) return { offset, size, type: "fd" };
    if (size === 8 && pointers?.test(name)) return { offset, size, type: "pointer" };
    return { offset, size, type: integerType(size, type.signed) };
  }
  throw new Error(`Field ${name} is of kind ${type.kind}`);
}

/** Whether an array element is `char`, and not one of the names for a byte. */
function isText(btf: Btf, id: number): boolean {
  const type = btf.typeById(id);
  return type.kind === "int" && type.name === "char";
}

function integerType(size: number, signed: boolean): FieldType {
  return `${signed ? "s" : "u"}${8 * size}` as FieldType;
}
