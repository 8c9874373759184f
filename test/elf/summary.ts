import { type Btf, functionInfos, lineInfos } from "../../src/btf/index.ts";
import type { ObjectMapSpec, ObjectSpec } from "../../src/elf/index.ts";

/** How a type looks, without its number: the same text for the same type in different BTF. */
export function describe(btf: Btf | undefined, id: number, depth = 0): string {
  if (btf === undefined || id === 0) return "void";
  if (depth > 6) return "...";
  const type = btf.typeById(id);
  const inner = (next: number): string => describe(btf, next, depth + 1);
  switch (type.kind) {
    case "void":
    case "fwd":
    case "int":
    case "float":
    case "enum":
    case "enum64":
      return `${type.kind} ${type.name}`;
    case "struct":
    case "union":
      if (depth > 2) return `${type.kind} ${type.name}`;
      return `${type.kind} ${type.name} { ${type.members.map((each) => `${inner(each.type)} ${each.name} @${each.bitOffset}`).join("; ")} }`;
    case "array":
      return `${inner(type.type)}[${type.length}]`;
    case "func_proto":
      return `${inner(type.returnType)}(${type.params.map((param) => inner(param.type)).join(", ")})`;
    case "func":
    case "var":
      return `${type.linkage} ${type.kind} ${type.name}: ${inner(type.type)}`;
    case "datasec":
      return `section ${type.name} of ${type.size}`;
    default:
      return `${type.kind} ${type.name} ${inner(type.type)}`;
  }
}

function summarizeMap(btf: Btf | undefined, map: ObjectMapSpec): unknown {
  const { keyType, valueType, inner, contents, structOps, ...rest } = map;
  return {
    ...rest,
    keyType: describe(btf, keyType),
    valueType: describe(btf, valueType),
    inner: inner && summarizeMap(btf, inner),
    contents: [...contents],
    structOps: structOps && { ...structOps, type: describe(btf, structOps.type) },
  };
}

/** All that a specification says, with types told by how they look: what does not change when types are renumbered. */
export function summarize(spec: ObjectSpec): Record<string, unknown> {
  const { btf } = spec;
  return {
    littleEndian: spec.littleEndian,
    license: spec.license,
    version: spec.version,
    warnings: spec.warnings,
    maps: Object.fromEntries(Object.entries(spec.maps).map(([name, map]) => [name, summarizeMap(btf, map)])),
    variables: Object.fromEntries(
      Object.entries(spec.variables).map(([name, variable]) => [
        name,
        { ...variable, type: describe(btf, variable.type) },
      ]),
    ),
    externs: Object.fromEntries(
      Object.entries(spec.externs).map(([name, extern]) => [
        name,
        "type" in extern ? { ...extern, type: describe(btf, extern.type) } : extern,
      ]),
    ),
    programs: Object.fromEntries(
      Object.entries(spec.programs).map(([name, program]) => [
        name,
        {
          ...program,
          instructions: program.instructions.map(({ meta, ...insn }) => {
            const core =
              meta?.relocation?.kind === "core" ? (meta.relocation.relocation as { type: number }) : undefined;
            return {
              ...insn,
              labels: meta?.labels,
              reference: meta?.reference,
              // Files may tell the same in another order.
              relocation: core === undefined ? meta?.relocation : { ...core, order: 0, type: describe(btf, core.type) },
            };
          }),
          functions: program.functions.map((each) => ({ ...each, type: describe(btf, each.type ?? 0) })),
          functionInfos: functionInfos(program).map(({ insnOffset, type }) => [insnOffset, describe(btf, type)]),
          lineInfos: lineInfos(program),
        },
      ]),
    ),
  };
}
