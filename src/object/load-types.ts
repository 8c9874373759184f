import type { Instruction } from "../asm/index.ts";
import { type BtfFeatures, type BtfTypeSpec, downgradeBtf, layoutBtf } from "../btf/index.ts";
import type { ObjectSpec } from "../elf/index.ts";
import type { SyscallBackend } from "../syscall/backend.ts";
import { errnoName } from "../syscall/errno.ts";
import { SyscallError } from "../syscall/errors.ts";
import type { Fd } from "../syscall/fd.ts";
import { type FeatureName, probeFeature } from "../syscall/features.ts";
import { loadBtf } from "../syscall/load-btf.ts";

/** An object's BTF in the kernel. */
export interface LoadedTypes {
  /** Its descriptor. */
  readonly fd: Fd;
  /** Offset of a text in its strings: names of source files, and source lines. */
  readonly offsetOf: (text: string) => number;
  /** Whether the kernel takes types of functions, and their lines. */
  readonly functions: boolean;
}

const PROBES: readonly (readonly [keyof BtfFeatures, FeatureName])[] = [
  ["func", "btf_func"],
  ["datasec", "btf_datasec"],
  ["questionMarkDatasec", "btf_question_mark_datasec"],
  ["funcGlobal", "btf_func_global"],
  ["float", "btf_float"],
  ["declTag", "btf_decl_tag"],
  ["typeTag", "btf_type_tag"],
  ["enum64", "btf_enum64"],
  ["attributeTag", "btf_attribute_tag"],
];

/** Features of BTF that some types need: the kernel is only asked about those. */
function needed(types: readonly BtfTypeSpec[]): Set<keyof BtfFeatures> {
  const features = new Set<keyof BtfFeatures>();
  for (const type of types) {
    switch (type.kind) {
      case "func":
        features.add("func");
        if (type.linkage !== "static") features.add("funcGlobal");
        break;
      case "func_proto":
        features.add("func");
        break;
      case "var":
        features.add("datasec");
        break;
      case "datasec":
        features.add("datasec");
        if (type.name.startsWith("?")) features.add("questionMarkDatasec");
        break;
      case "float":
        features.add("float");
        break;
      case "decl_tag":
      case "type_tag":
        features.add(type.kind === "decl_tag" ? "declTag" : "typeTag");
        if (type.attribute === true) features.add("attributeTag");
        break;
      case "enum":
        if (type.signed === true) features.add("enum64");
        break;
      case "enum64":
        features.add("enum64");
        break;
      default:
        break;
    }
  }
  return features;
}

/** Texts of lines that instructions carry. */
function texts(programs: Iterable<readonly Instruction[]>): Set<string> {
  const found = new Set<string>();
  for (const instructions of programs) {
    for (const { meta } of instructions) {
      if (meta?.source !== undefined) found.add(meta.source.file).add(meta.source.text);
    }
  }
  return found;
}

/**
 * Gives the types of an object to the kernel, with the source lines of its programs. What the kernel does not know is
 * replaced; it is asked once it has refused the types as they are.
 *
 * @param backend shim
 * @param spec the object
 * @param programs instructions whose lines are wanted
 * @param options token; whether types are essential; types, if others than those of the object
 * @returns `undefined` when the object has no types, or when the kernel takes none and nothing needs them
 * @throws SyscallError with the kernel's reason
 */
export function loadTypes(
  backend: SyscallBackend,
  spec: ObjectSpec,
  programs: Iterable<readonly Instruction[]>,
  options: {
    readonly token?: number | undefined;
    readonly required: boolean;
    readonly warnings: string[];
    readonly types?: readonly BtfTypeSpec[] | undefined;
  },
): LoadedTypes | undefined {
  if (spec.btf === undefined) return undefined;
  const types = options.types ?? [...spec.btf.types()];
  const strings = texts(programs);
  const label = spec.name === "" ? "BTF of the object" : `BTF of "${spec.name}"`;
  const load = (list: readonly BtfTypeSpec[], functions: boolean): LoadedTypes => {
    const { bytes, offsetOf } = layoutBtf(list, { strings, littleEndian: spec.littleEndian });
    return { fd: loadBtf(backend, bytes, { label, token: options.token }), offsetOf, functions };
  };
  try {
    return load(types, true);
  } catch (error) {
    if (!(error instanceof SyscallError) || errnoName(error.errno) === "EPERM") throw error;
    const features: { -readonly [F in keyof BtfFeatures]: BtfFeatures[F] } = {};
    const wanted = needed(types);
    for (const [feature, probe] of PROBES) {
      if (wanted.has(feature)) features[feature] = probeFeature(probe, { backend, token: options.token });
    }
    const lacking = Object.entries(features).filter(([, there]) => there === false);
    if (lacking.length > 0) {
      try {
        const loaded = load(downgradeBtf(types, features), features.func !== false);
        const names = lacking.map(([name]) => name).join(", ");
        options.warnings.push(`Types were replaced that this kernel does not know: ${names}`);
        return loaded;
      } catch (second) {
        if (options.required || !(second instanceof SyscallError)) throw second;
      }
    }
    if (options.required) throw error;
    options.warnings.push(`The kernel did not take the types of the object: ${error.message}`);
    return undefined;
  }
}
