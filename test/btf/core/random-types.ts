import {
  encode,
  exit,
  type Instruction,
  ldImm64,
  load,
  mov,
  r0,
  r1,
  r2,
  slotsOf,
  store,
  type UnsignedSize,
} from "../../../src/asm/index.ts";
import {
  type Btf,
  type BtfBuilder,
  type BtfType,
  type CoreRelocation,
  computeFixups,
  createBtfBuilder,
  encodeBtfExt,
  layoutBtf,
  openBtf,
  type TypeId,
} from "../../../src/btf/index.ts";
import { encodeUtf8 } from "../../../src/bytes/index.ts";
import { SectionFlag, SymbolType, writeElf } from "../../../src/elf/index.ts";

/** Numbers below a limit, the same for the same seed. */
export type Random = (below: number) => number;

/** A generator of its own, so that a failure can be repeated. */
export function random(seed: number): Random {
  let state = (seed * 2654435761) >>> 0 || 1;
  const next = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  for (let i = 0; i < 8; i++) next(2);
  return next;
}

/** A C type, before it is laid out: what two kernels may have in common. */
type Shape =
  | { readonly kind: "int"; readonly index: number }
  | { readonly kind: "ptr" | "const" | "typedef"; readonly to: Shape }
  | { readonly kind: "array"; readonly of: Shape; readonly length: number }
  | { readonly kind: "named"; readonly index: number }
  | { readonly kind: "anonymous"; readonly body: Body }
  | { readonly kind: "enum"; readonly index: number }
  | { readonly kind: "function"; readonly params: readonly Shape[]; readonly variadic: boolean }
  | { readonly kind: "void" }
  | { readonly kind: "forward"; readonly name: string };

interface Body {
  readonly union: boolean;
  readonly members: readonly { readonly name: string; readonly shape: Shape; readonly bits: number }[];
}

/** The definitions of a kernel. */
export interface Schema {
  readonly bodies: readonly (Body & { readonly name: string })[];
  readonly enums: readonly {
    readonly name: string;
    readonly wide: boolean;
    readonly signed: boolean;
    readonly values: readonly { readonly name: string; readonly value: bigint }[];
  }[];
  readonly typedefs: readonly { readonly name: string; readonly shape: Shape }[];
}

const INTS = [
  ["int", 4, true],
  ["unsigned int", 4, false],
  ["long", 8, true],
  ["unsigned long", 8, false],
  ["short", 2, true],
  ["unsigned short", 2, false],
  ["char", 1, true],
  ["unsigned char", 1, false],
  ["_Bool", 1, false],
] as const;

let uniqueMember = 0;

function shape(next: Random, below: number, depth: number): Shape {
  const kinds = depth > 3 ? 2 : 12;
  switch (next(kinds)) {
    case 2:
      return { kind: "ptr", to: next(4) === 0 ? { kind: "void" } : shape(next, 3, depth + 1) };
    case 3:
      return { kind: "array", of: shape(next, below, depth + 1), length: next(8) === 0 ? 0 : 1 + next(4) };
    case 4:
    case 5:
      return below > 0 ? { kind: "named", index: next(below) } : { kind: "int", index: 0 };
    case 6:
      return { kind: "anonymous", body: body(next, below, depth + 1) };
    case 7:
      return { kind: "enum", index: next(3) };
    case 8:
      return { kind: next(2) === 0 ? "const" : "typedef", to: shape(next, below, depth + 1) };
    case 9: {
      const params = Array.from({ length: next(3) }, () => shape(next, 0, depth + 2)).map(scalar);
      return { kind: "ptr", to: { kind: "function", params, variadic: next(4) === 0 } };
    }
    case 10:
      return { kind: "ptr", to: { kind: "forward", name: `s${next(5)}` } };
    default:
      return { kind: "int", index: next(INTS.length) };
  }
}

/** What a function may take: no arrays. */
function scalar(of: Shape): Shape {
  return of.kind === "array" ? { kind: "ptr", to: of.of } : of;
}

function body(next: Random, below: number, depth: number): Body {
  const members: { name: string; shape: Shape; bits: number }[] = [];
  for (let i = 1 + next(5); i > 0; i--) {
    const of = shape(next, below, depth);
    const anonymous = of.kind === "anonymous" && next(3) > 0;
    const width = of.kind === "int" ? INTS[of.index]![1] * 8 : 0;
    const bits = width > 0 && next(4) === 0 ? 1 + next(width) : 0;
    members.push({ name: anonymous ? "" : `m${uniqueMember++}`, shape: of, bits });
  }
  return { union: next(4) === 0, members };
}

/** A random kernel. */
export function schema(next: Random): Schema {
  uniqueMember = 0;
  const bodies = Array.from({ length: 5 }, (_, i) => ({ name: `s${i}`, ...body(next, i, 0) }));
  const enums = Array.from({ length: 3 }, (_, i) => ({
    name: `e${i}`,
    wide: next(4) === 0,
    signed: next(2) === 0,
    values: Array.from({ length: 1 + next(4) }, (_, j) => ({
      name: `V${i}_${j}`,
      value: BigInt(next(100)) - (next(2) === 0 ? 0n : 0n),
    })),
  }));
  const typedefs = Array.from({ length: 3 }, (_, i) => ({ name: `t${i}`, shape: shape(next, 5, 1) }));
  return { bodies, enums, typedefs };
}

/** The same kernel, some versions later. */
export function evolve(next: Random, old: Schema): Schema {
  const change = (of: Shape): Shape => {
    if (next(12) === 0) return shape(next, of.kind === "named" ? of.index : 0, 2);
    switch (of.kind) {
      case "ptr":
      case "const":
      case "typedef":
        return { ...of, to: change(of.to) };
      case "array":
        return { ...of, of: change(of.of), length: next(5) === 0 ? next(6) : of.length };
      case "anonymous":
        return { ...of, body: changeBody(of.body) };
      case "function": {
        const params = of.params.map((param) => scalar(change(param)));
        return { ...of, params: next(8) === 0 ? params.slice(1) : params };
      }
      case "int":
        return next(6) === 0 ? { kind: "int", index: next(INTS.length) } : of;
      default:
        return of;
    }
  };
  const changeBody = (of: Body): Body => {
    const members = of.members
      .filter(() => next(8) > 0)
      .map((member) => {
        const changed = change(member.shape);
        const width = changed.kind === "int" ? INTS[changed.index]![1] * 8 : 0;
        const bits = width === 0 ? 0 : next(8) === 0 ? next(width + 1) : Math.min(member.bits, width);
        return {
          name: changed.kind === "anonymous" ? member.name : member.name || `n${uniqueMember++}`,
          shape: changed,
          bits,
        };
      });
    if (next(3) === 0)
      members.splice(next(members.length + 1), 0, { name: `n${uniqueMember++}`, shape: shape(next, 0, 3), bits: 0 });
    if (next(3) === 0) members.reverse();
    return { union: next(10) === 0 ? !of.union : of.union, members };
  };
  const rename = (name: string): string => (next(6) === 0 ? `${name}___v${next(3)}` : name);
  const bodies: (Body & { name: string })[] = [];
  for (const each of old.bodies) {
    if (next(12) === 0) bodies.push({ ...each, name: `gone_${each.name}` });
    else bodies.push({ ...changeBody(each), name: rename(each.name) });
  }
  // Types of one name that could not be merged.
  if (next(2) === 0) {
    const again = old.bodies[next(old.bodies.length)]!;
    bodies.push({ ...(next(2) === 0 ? changeBody(again) : again), name: `${again.name}___again` });
  }
  const enums = old.enums.map((each) => ({
    ...each,
    name: rename(each.name),
    wide: next(6) === 0 ? !each.wide : each.wide,
    values: each.values
      .filter(() => next(6) > 0)
      .map(({ name, value }) => ({ name: rename(name), value: next(3) === 0 ? value + 100n : value })),
  }));
  const typedefs = old.typedefs.map(({ name, shape: of }) => ({ name, shape: change(of) }));
  return { bodies, enums, typedefs };
}

/** Lays a schema out as a compiler does, and writes its types. */
export function layOut(next: Random, { bodies, enums, typedefs }: Schema): Btf {
  const builder = createBtfBuilder();
  const ints = INTS.map(([name, size, signed]) =>
    builder.add({ kind: "int", name, size, signed, bool: name === "_Bool" }),
  );
  const enumIds = enums.map(({ name, wide, signed, values }) =>
    wide
      ? builder.add({ kind: "enum64", name, signed, values })
      : builder.add({
          kind: "enum",
          name,
          signed,
          values: values.map((v) => ({ name: v.name, value: Number(v.value) })),
        }),
  );
  const enumSizes = enums.map(({ wide }) => (wide ? 8 : 4));
  const named: Placed[] = [];
  const place = (of: Shape): Placed => {
    switch (of.kind) {
      case "int":
        return { id: ints[of.index]!, size: INTS[of.index]![1], align: INTS[of.index]![1] };
      case "ptr":
        return { id: builder.add({ kind: "ptr", type: place(of.to).id }), size: 8, align: 8 };
      case "const":
      case "typedef": {
        const to = place(of.to);
        const type =
          of.kind === "const"
            ? ({ kind: "const", type: to.id } as const)
            : ({ kind: "typedef", name: `alias${to.id}`, type: to.id } as const);
        return { ...to, id: builder.add(type) };
      }
      case "array": {
        const element = place(of.of);
        const id = builder.add({ kind: "array", type: element.id, indexType: ints[1]!, length: of.length });
        return { id, size: element.size * of.length, align: element.align };
      }
      case "named":
        return named[of.index] ?? place({ kind: "int", index: 0 });
      case "anonymous":
        return compose(builder, "", of.body, place, next);
      case "enum":
        return { id: enumIds[of.index]!, size: enumSizes[of.index]!, align: enumSizes[of.index]! };
      case "function": {
        const params = of.params.map((param) => ({ type: place(param).id }));
        return {
          id: builder.add({ kind: "func_proto", returnType: ints[0]!, params, variadic: of.variadic }),
          size: 1,
          align: 1,
        };
      }
      case "void":
        return { id: 0 as TypeId, size: 1, align: 1 };
      case "forward":
        return { id: builder.add({ kind: "fwd", name: of.name, target: "struct" }), size: 1, align: 1 };
      default:
        return of satisfies never;
    }
  };
  for (const each of bodies) named.push(compose(builder, each.name, each, place, next));
  for (const { name, shape: of } of typedefs) builder.add({ kind: "typedef", name, type: place(of).id });
  return builder.build();
}

interface Placed {
  readonly id: TypeId;
  readonly size: number;
  readonly align: number;
}

function compose(
  builder: BtfBuilder,
  name: string,
  { union, members }: Body,
  place: (of: Shape) => Placed,
  next: Random,
): Placed {
  let at = 0;
  let end = 0;
  let align = 1;
  const packed = next(8) === 0;
  const placed = members.map((member) => {
    const { id, size, align: own } = place(member.shape);
    const step = packed ? 1 : own;
    align = Math.max(align, step);
    if (union) at = 0;
    if (member.bits > 0) {
      // A bit field does not reach over the end of its type, unless the struct is packed.
      if (!packed && Math.floor(at / (8 * size)) !== Math.floor((at + member.bits - 1) / (8 * size)))
        at = Math.ceil(at / (8 * size)) * 8 * size;
    } else {
      at = Math.ceil(at / (8 * step)) * 8 * step;
    }
    const bitOffset = at;
    at += member.bits > 0 ? member.bits : size * 8;
    end = Math.max(end, at);
    return { name: member.name, type: id, bitOffset, bitfieldSize: member.bits };
  });
  const size = Math.ceil(Math.ceil(end / 8) / align) * align;
  return { id: builder.add({ kind: union ? "union" : "struct", name, size, members: placed }), size, align };
}

const FIELD_KINDS = [
  "field_byte_offset",
  "field_byte_offset",
  "field_byte_offset",
  "field_byte_size",
  "field_exists",
  "field_signed",
  "field_lshift_u64",
  "field_rshift_u64",
] as const;
const TYPE_KINDS = [
  "type_id_local",
  "type_id_target",
  "type_exists",
  "type_size",
  "type_matches",
  "type_matches",
] as const;

/** A random question about a type. */
export function question(next: Random, btf: Btf, type: BtfType): CoreRelocation {
  const isEnum = type.kind === "enum" || type.kind === "enum64";
  if (isEnum && next(2) === 0) {
    return {
      kind: next(2) === 0 ? "enumval_exists" : "enumval_value",
      type: type.id,
      access: String(next(type.values.length)),
    };
  }
  if ((type.kind === "struct" || type.kind === "union") && next(4) > 0) {
    const path = [next(8) === 0 ? 1 + next(2) : 0];
    let at: BtfType = type;
    while (path.length < 8) {
      if (at.kind === "struct" || at.kind === "union") {
        if (at.members.length === 0) break;
        const index = next(at.members.length);
        path.push(index);
        at = btf.resolve(at.members[index]!.type);
        // A path that ends at an anonymous member is no access.
        if ((at.kind === "struct" || at.kind === "union") && (at.name === "" || next(2) === 0)) continue;
        if (at.kind === "array" && next(3) > 0) continue;
        break;
      }
      if (at.kind !== "array") break;
      path.push(next(at.length + 1));
      at = btf.resolve(at.type);
      if (next(2) === 0) break;
    }
    return { kind: FIELD_KINDS[next(FIELD_KINDS.length)]!, type: type.id, access: path.join(":") };
  }
  return { kind: TYPE_KINDS[next(TYPE_KINDS.length)]!, type: type.id, access: "0" };
}

const SIZES: ReadonlyMap<number, UnsignedSize> = new Map<number, UnsignedSize>([
  [1, "u8"],
  [2, "u16"],
  [4, "u32"],
  [8, "u64"],
]);

/** An instruction as a compiler makes it for a question: it holds the answer for the local types. */
function instructionFor(next: Random, btf: Btf, relocation: CoreRelocation): Instruction {
  let before = 0n;
  let size = 0;
  try {
    // Any candidate tells the size; its own type is one.
    const [fixup] = computeFixups([relocation], btf, [{ name: "itself", btf }]);
    before = fixup!.before;
    size = fixup!.memory?.before ?? 0;
  } catch {
    // There is no answer: both sides are to refuse it.
  }
  if (!relocation.kind.startsWith("field")) return ldImm64(r0, before);
  const width = SIZES.get(size);
  if (relocation.kind === "field_byte_offset" && width !== undefined && before < 32768n && next(3) > 0) {
    const offset = Number(before);
    return [load(width, r0, r1, offset), store(width, r1, offset, r2), store(width, r1, offset, 1)][next(3)]!;
  }
  return mov(r0, Number(BigInt.asIntN(32, before)));
}

/** An object of small programs, each of which asks a few questions about the types. */
export function objectOf(next: Random, local: Btf, programs: number): Uint8Array {
  const subjects = [...local.types()].filter(({ name, kind }) => name !== "" && kind !== "int");
  const code: Instruction[] = [];
  const records: (CoreRelocation & { insnOffset: number })[] = [];
  const symbols: { name: string; type: number; section: number; value: number; size: number }[] = [];
  let slot = 0;
  const emit = (insn: Instruction): void => {
    code.push(insn);
    slot += slotsOf(insn);
  };
  for (let i = 0; i < programs; i++) {
    const start = slot;
    const type = subjects[next(subjects.length)]!;
    for (let j = 1 + next(3); j > 0; j--) {
      const relocation = question(next, local, type);
      records.push({ ...relocation, insnOffset: 8 * slot });
      emit(instructionFor(next, local, relocation));
    }
    emit(mov(r0, 0));
    emit(exit());
    symbols.push({ name: `p${i}`, type: SymbolType.func, section: 0, value: 8 * start, size: 8 * (slot - start) });
  }
  const strings = ["xdp", ...records.map(({ access }) => access)];
  const { bytes, offsetOf } = layoutBtf(local.types(), { strings });
  const ext = encodeBtfExt({ funcInfos: [], lineInfos: [], coreRelos: [{ section: "xdp", records }] }, offsetOf);
  return writeElf({
    sections: [
      { name: "xdp", flags: SectionFlag.alloc | SectionFlag.execinstr, alignment: 8, data: encode(code) },
      { name: "license", flags: SectionFlag.alloc | SectionFlag.write, data: encodeUtf8("GPL\0") },
      { name: ".BTF", alignment: 4, data: bytes },
      { name: ".BTF.ext", alignment: 4, data: ext },
    ],
    symbols: [...symbols, { name: "_license", type: SymbolType.object, section: 1, size: 4 }],
  });
}

/** Opens the bytes of a BTF again, to have them as well. */
export function bytesOf(btf: Btf): Uint8Array {
  const { bytes } = layoutBtf(btf.types());
  openBtf(bytes);
  return bytes;
}
