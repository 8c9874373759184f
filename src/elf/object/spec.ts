// Browser-safe.

import type { Instruction, InstructionRelocation } from "../../asm/index.ts";
import type { Btf, TypeId } from "../../btf/index.ts";
import type { AttachType, MapType, ProgType } from "../../kernel-abi/index.ts";

/**
 * What is in a BPF object file: plain data without descriptors, which may be edited before it is loaded. The same bytes
 * give the same specification on every machine; whatever depends on the kernel is left open.
 *
 * The records have no prototype, so that every name is only itself.
 */
export interface ObjectSpec {
  /** Name that the kernel's names of `.rodata` and the like begin with; empty when it was not given. */
  name: string;
  /** Byte order of instructions and data. Loading takes an object of the machine's own order. */
  littleEndian: boolean;
  /** The section `license`, at most 127 bytes; empty when there is none. */
  license: string;
  /** The section `version`: a kernel version as kprobes before Linux 5.0 want it; 0 when there is none. */
  version: number;
  /** Programs by the name of their function. */
  programs: Record<string, ObjectProgramSpec>;
  /** Maps by name, with those that hold variables: `.rodata`, `.data`, `.bss`, `.kconfig`. */
  maps: Record<string, ObjectMapSpec>;
  /** Global and static variables by name. */
  variables: Record<string, VariableSpec>;
  /** What is taken from the kernel by name: configuration, symbols and functions. */
  externs: Record<string, ExternSpec>;
  /**
   * Types, completed from the symbols as the kernel wants them: sections have their size, variables their place. The
   * numbers of types are those of the file; types may be added behind them. `undefined` when the object has none.
   */
  btf: Btf | undefined;
  /** What was found odd and does not keep the object from being used, one sentence each. */
  warnings: string[];
}

/** A program. */
export interface ObjectProgramSpec {
  /** Name of its function. */
  name: string;
  /** Name of its section, without the `?` that {@link autoload} tells of. */
  sectionName: string;
  /**
   * The rule that its section follows, such as `kprobe.multi`: which way of attaching is meant. Empty when no rule
   * fits; then `type` is `unspec`, and one has to be set before it can be loaded.
   */
  sectionRule: string;
  /** Program type. */
  type: ProgType;
  /** Attach type that it is loaded for; `undefined` where its type has none. */
  attachType: AttachType | undefined;
  /** Whether a kernel which does not know {@link attachType} for this type may be given none. */
  attachTypeOptional: boolean;
  /** What follows the `/` in the section's name: a function, tracepoint, file. `undefined` when nothing does. */
  attachTo: string | undefined;
  /** Whether {@link attachTo} names a function or type that has to be found in the BTF of the kernel or a program. */
  attachBtf: boolean;
  /** Whether it may sleep (`BPF_F_SLEEPABLE`). */
  sleepable: boolean;
  /** Further `BPF_F_*` flags of loading. */
  flags: number;
  /** Whether it is loaded when nothing else is said: not with a `?` before the section's name. */
  autoload: boolean;
  /**
   * Its code, behind it that of every function it calls or refers to. Functions start with a label; calls, maps,
   * variables, and what comes from the kernel are references by name. CO-RE relocations and source lines are in `meta`.
   */
  instructions: readonly Instruction[];
  /**
   * The functions in {@link instructions}, its own first. Where they start is where their label is, so that editing
   * the code does not displace them.
   */
  functions: readonly FunctionSpec[];
  /** Label of the function that handles exceptions (`exception_callback:` tag). */
  exceptionCallback: string | undefined;
  /** Tables of `gotox` by name; the program refers to them as to maps. */
  jumpTables: Record<string, JumpTableSpec>;
}

/**
 * Where a `gotox` may lead to. Loading makes a map of type `insn_array` of it, for each program its own, because
 * distances depend on what else is in the program.
 */
export interface JumpTableSpec {
  /** Its name. */
  name: string;
  /** Labels of the instructions, by index. */
  targets: readonly string[];
}

/** A function inside of a program. Programs that share a function may share this. */
export interface FunctionSpec {
  /** Its label. That of a static function may have a number behind it, where several have the same name. */
  readonly label: string;
  /** Name of its symbol. */
  readonly name: string;
  /** Its type, a `func`; `undefined` when the object says nothing of it. */
  readonly type: TypeId | undefined;
}

/** How a map is made, and what is in it at first. */
export interface ObjectMapSpec {
  /** Its name in the object. */
  name: string;
  /**
   * Where it comes from: `map` is one that the source defines, `data` holds variables of a section, `kconfig` kernel
   * configuration, `struct_ops` a table of functions for the kernel.
   */
  kind: "map" | "data" | "kconfig" | "struct_ops";
  /** Map type. */
  type: MapType;
  /** Bytes of a key. */
  keySize: number;
  /** Bytes of a value; 0 for `struct_ops` until the kernel's own type is known. */
  valueSize: number;
  /** Type of keys in the object's BTF; 0 when it is not known. */
  keyType: TypeId;
  /** Type of values in the object's BTF; 0 when it is not known. Of `data`, the section. */
  valueType: TypeId;
  /** Most entries, as written: a ring buffer may need to be rounded up, 0 may stand for the number of CPUs. */
  maxEntries: number;
  /** `BPF_F_*` flags of creation. */
  flags: number;
  /** What `map_extra` means depends on the type. */
  mapExtra: bigint;
  /** NUMA node on which it lies; `undefined` for any. */
  numaNode: number | undefined;
  /** Whether it is kept under its name in the BPF file system, and taken from there when it is there already. */
  pinning: "none" | "by_name";
  /** Whether it is created: not for an optional `struct_ops` map (a `?` before the section's name). */
  autocreate: boolean;
  /** What maps this map of maps takes. */
  inner: ObjectMapSpec | undefined;
  /** First entries of a program array or map of maps: programs or maps by name, at most one for each key. */
  values: MapValueSpec[];
  /**
   * First bytes of the only value (`data`, `kconfig`, `struct_ops`), or the variables of an arena. What it is shorter
   * than the value is 0.
   */
  contents: Uint8Array;
  /** Whether it is made read-only for user space once it is filled. */
  frozen: boolean;
  /** Whether user space may map its only value into memory, where the kernel can do that (`BPF_F_MMAPABLE`). */
  mmapable: boolean;
  /** `btf_decl_tag` attributes of its definition. */
  tags: readonly string[];
  /** For `struct_ops`: the table. */
  structOps: StructOpsSpec | undefined;
  /** Bytes behind a definition in a section `maps` that are not known here, as iproute2 has them. */
  extra: Uint8Array | undefined;
}

/** First entry of a map. */
export interface MapValueSpec {
  /** The key. */
  key: number;
  /** Name of the program or map. */
  name: string;
}

/** A table of functions for the kernel. */
export interface StructOpsSpec {
  /** Name of the kernel's type, without a flavour. */
  typeName: string;
  /** Its type in the object's BTF. */
  type: TypeId;
  /** Whether it takes effect by a link, and not by being created (`.struct_ops.link`). */
  link: boolean;
  /** Programs by the member that they fill. */
  functions: Record<string, string>;
}

/** A global or static variable. */
export interface VariableSpec {
  /** Its name. */
  name: string;
  /** Name of the map that holds it: `.data`, or an arena. */
  map: string;
  /** Name of its section: that of the map, or `.addr_space.1`. */
  section: string;
  /** Offset in {@link ObjectMapSpec.contents}, in bytes. */
  offset: number;
  /** Bytes. */
  size: number;
  /** Its type in the object's BTF; 0 when it is not known. */
  type: TypeId;
  /** Whether it is seen from other files. */
  linkage: "global" | "static";
  /** `btf_decl_tag` attributes of its definition. */
  tags: readonly string[];
}

/** A value of the kernel's configuration. */
export interface KconfigExternSpec {
  kind: "kconfig";
  /** Its name: `CONFIG_HZ`, or one that the loader knows, such as `LINUX_KERNEL_VERSION`. */
  name: string;
  /** Whether it may be missing: it is 0 then. */
  weak: boolean;
  /** Its type in the object's BTF. */
  type: TypeId;
  /** What may be written: the variable is as many bytes as {@link size}. */
  value: "bool" | "tristate" | "char" | "integer" | "string";
  /** Whether an integer has a sign. */
  signed: boolean;
  /** Offset in the map `.kconfig`, in bytes. */
  offset: number;
  /** Bytes. */
  size: number;
}

/** A variable of the kernel, or the address of a symbol. */
export interface KsymExternSpec {
  kind: "ksym";
  /** Its name. */
  name: string;
  /** Name to look for: without a flavour (`___`). */
  kernelName: string;
  /** Whether it may be missing: its address is 0 then. */
  weak: boolean;
  /**
   * Its type in the object's BTF, for one whose type the kernel knows; 0 for an address from `/proc/kallsyms`, declared
   * as `void`.
   */
  type: TypeId;
}

/** A function of the kernel that programs may call. */
export interface KfuncExternSpec {
  kind: "kfunc";
  /** Its name. */
  name: string;
  /** Name to look for: without a flavour (`___`). */
  kernelName: string;
  /** Whether it may be missing: calls that can be reached are refused by the verifier then. */
  weak: boolean;
  /** Its prototype in the object's BTF, a `func_proto`. */
  type: TypeId;
}

/**
 * A symbol that is not in the object, and of which its BTF does not say what it is: something of another object that
 * was not linked, or for the user to fill in. A program that refers to it cannot be loaded as it is.
 */
export interface UndefinedExternSpec {
  kind: "undefined";
  /** Its name. */
  name: string;
  /** Whether it may be missing. */
  weak: boolean;
}

/** Something that is taken from the kernel by name. */
export type ExternSpec = KconfigExternSpec | KsymExternSpec | KfuncExternSpec | UndefinedExternSpec;

/**
 * What an instruction carries in `meta.relocation` that refers to something by name which is not in the object.
 * `meta.reference` is the same name.
 *
 * - `ksym`: `ld_imm64` of the address of a kernel symbol, variable or function;
 * - `kfunc`: `call` of a kernel function;
 * - `undefined`: `call` or `ld_imm64` of what is known by its name only.
 */
export interface ExternRelocation extends InstructionRelocation {
  readonly kind: "ksym" | "kfunc" | "undefined";
  /** Key in {@link ObjectSpec.externs}. */
  readonly name: string;
}

/**
 * What an `ld_imm64` carries in `meta.relocation` whose `high` is an offset into the object's data in an arena. Where
 * that data lies in the arena is up to the loader, which adds it; `meta.reference` is the arena's name.
 */
export interface ArenaRelocation extends InstructionRelocation {
  readonly kind: "arena";
}
