// Browser-safe.

import { type Instruction, LD_IMM64, PseudoSource } from "../../asm/index.ts";
import { type Btf, createBtfBuilder } from "../../btf/index.ts";
import type { MapType } from "../../kernel-abi/index.ts";
import { emptyRecord } from "./file.ts";
import { findFunctions } from "./find-functions.ts";
import { labelled } from "./jump-tables.ts";
import { emptyMap } from "./map-definition.ts";
import { matchSection, type SectionRule } from "./sections.ts";
import type { ExternSpec, FunctionSpec, ObjectMapSpec, ObjectProgramSpec, ObjectSpec } from "./spec.ts";

/** A program for {@link createObjectSpec}: what {@link ObjectProgramSpec} says, its section at least. */
export interface NewProgram extends Partial<Omit<ObjectProgramSpec, "name" | "sectionName" | "instructions">> {
  /** Name of its section, which tells its type: `xdp`, `kprobe/do_exit`. With `?` before it, it is not loaded unasked. */
  readonly section: string;
  /**
   * Its instructions, behind them those of the functions that it calls by label. They refer to maps by name, and to
   * variables by the name of their map and an offset.
   */
  readonly instructions: readonly Instruction[];
}

/** A map for {@link createObjectSpec}: what {@link ObjectMapSpec} says, its type at least. */
export interface NewMap extends Partial<Omit<ObjectMapSpec, "name" | "type" | "inner">> {
  /** Map type. */
  readonly type: MapType;
  /** What maps this map of maps takes. */
  readonly inner?: NewMap | undefined;
}

/** An object for {@link createObjectSpec}. */
export interface NewObject {
  /** Its name; the kernel's names of its data maps begin with it. Default empty. */
  readonly name?: string | undefined;
  /** Byte order. Default `true`. */
  readonly littleEndian?: boolean | undefined;
  /** Licence. Default empty: helpers for GPL programs are refused. */
  readonly license?: string | undefined;
  /** Kernel version as kprobes before Linux 5.0 want it. Default 0. */
  readonly version?: number | undefined;
  /** Types that its maps, functions and externs refer to. Default none. */
  readonly btf?: Btf | undefined;
  /** Programs by name. */
  readonly programs?: Readonly<Record<string, NewProgram>> | undefined;
  /** Maps by name. */
  readonly maps?: Readonly<Record<string, NewMap>> | undefined;
  /** What is taken from the kernel, by name. */
  readonly externs?: Readonly<Record<string, ExternSpec>> | undefined;
  /** Rules for names of sections that go before the known ones. */
  readonly sections?: readonly SectionRule[] | undefined;
}

/**
 * Makes the specification of an object from parts, as `parseObject` makes it from a file: to be loaded, or written as a
 * file.
 *
 * @param object programs, maps, types and licence; what is not said has the value that a file would give it
 *
 * @example
 * ```ts
 * import { call, exit, ldMap, mov, program, r0, r1 } from "rawbpf/asm";
 * import { createObjectSpec, writeObject } from "rawbpf/elf";
 *
 * const spec = createObjectSpec({
 *   license: "GPL",
 *   maps: { counts: { type: "hash", keySize: 4, valueSize: 8, maxEntries: 100 } },
 *   programs: { pass: { section: "xdp", instructions: program(ldMap(r1, "counts"), mov(r0, 2), exit()) } },
 * });
 * console.log(spec.programs.pass?.type); // xdp
 * const bytes = writeObject(spec);
 * ```
 */
export function createObjectSpec(object: NewObject): ObjectSpec {
  const spec: ObjectSpec = {
    name: object.name ?? "",
    littleEndian: object.littleEndian ?? true,
    license: object.license ?? "",
    version: object.version ?? 0,
    programs: emptyRecord(),
    maps: emptyRecord(),
    variables: emptyRecord(),
    externs: Object.assign(emptyRecord<ExternSpec>(), object.externs),
    btf: object.btf,
    warnings: [],
  };
  for (const [name, map] of Object.entries(object.maps ?? {})) spec.maps[name] = newMap(name, map);
  for (const [name, program] of Object.entries(object.programs ?? {})) {
    spec.programs[name] = newProgram(name, program, object.sections ?? []);
  }
  describeFunctions(spec);
  return spec;
}

function newMap(name: string, map: NewMap): ObjectMapSpec {
  const { inner, type, ...rest } = map;
  return {
    ...emptyMap(name, "map", type),
    ...rest,
    inner: inner && newMap(`${name}.inner`, inner),
  };
}

function newProgram(name: string, program: NewProgram, rules: readonly SectionRule[]): ObjectProgramSpec {
  const { section, instructions: given, functions: known = [], ...rest } = program;
  const first: FunctionSpec = { label: name, name, type: undefined };
  const found = findFunctions({ name, instructions: given, functions: known.length > 0 ? known : [first] });
  const instructions = found.instructions;
  for (const [index, label] of found.starts) {
    const insn = instructions[index];
    if (insn !== undefined) instructions[index] = labelled(insn, label);
  }
  const functions = found.starts.map(
    ([, label]) => known.find((each) => each.label === label) ?? { label, name: label, type: undefined },
  );
  return {
    ...programOf(name, section, rules),
    instructions,
    functions,
    exceptionCallback: undefined,
    jumpTables: emptyRecord(),
    ...rest,
  };
}

/**
 * Gives types to functions where the kernel needs them: it takes the address of a function only from programs whose
 * functions it knows. What their parameters are makes no difference to it.
 */
function describeFunctions(spec: ObjectSpec): void {
  const needy = Object.values(spec.programs).filter(
    ({ instructions, functions }) =>
      instructions.some(({ opcode, src }) => opcode === LD_IMM64 && src === PseudoSource.function) &&
      functions.every(({ type }) => type === undefined),
  );
  if (needy.length === 0) return;
  const builder = createBtfBuilder({ littleEndian: spec.littleEndian });
  for (const type of spec.btf?.types() ?? []) builder.add(type);
  const returnType = builder.add({ kind: "int", name: "int", size: 4, signed: true });
  const type = builder.add({ kind: "func_proto", returnType, params: [] });
  for (const program of needy) {
    program.functions = program.functions.map((each, i) => ({
      ...each,
      type: builder.add({ kind: "func", name: each.name, type, linkage: i === 0 ? "global" : "static" }),
    }));
  }
  spec.btf = builder.build();
}

/** What the name of its section says of a program. */
export function programOf(
  name: string,
  section: string,
  rules: readonly SectionRule[],
): Omit<ObjectProgramSpec, "instructions" | "functions" | "exceptionCallback" | "jumpTables"> {
  const { rule, target, autoload, name: sectionName } = matchSection(section, rules);
  return {
    name,
    sectionName,
    sectionRule: rule?.name ?? "",
    type: rule?.type ?? "unspec",
    attachType: rule?.attachType,
    attachTypeOptional: rule?.attachTypeOptional ?? false,
    attachTo: target,
    attachBtf: rule?.attachBtf ?? false,
    sleepable: rule?.sleepable ?? false,
    flags: rule?.flags ?? 0,
    autoload,
  };
}
