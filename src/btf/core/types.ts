// Browser-safe.

import type { InstructionRelocation } from "../../asm/index.ts";
import type { CoreReloKind } from "../../kernel-abi/index.ts";
import type { Btf } from "../btf.ts";
import type { TypeId } from "../types.ts";

/**
 * A question that the compiler left open: where a field lies, how large a type is, whether something exists. A record
 * of `.BTF.ext` is one.
 */
export interface CoreRelocation {
  /** What is asked. */
  readonly kind: CoreReloKind;
  /** The local type that the access starts from. */
  readonly type: TypeId;
  /**
   * Path of the access: numbers with colons between them. The first counts elements as of an array, the others members
   * and array elements (`0:1:2`); of an enum, the one number is that of the enumerator; of a type, it is 0.
   */
  readonly access: string;
  /**
   * Its place among the relocations of its object: where several types of the kernel come into question, those that were
   * asked first narrow down the choice.
   */
  readonly order?: number | undefined;
}

/** How an instruction carries its {@link CoreRelocation} in `meta.relocation`. */
export interface CoreInstructionRelocation extends InstructionRelocation {
  readonly kind: "core";
  /** What is asked. */
  readonly relocation: CoreRelocation;
}

/** A BTF that candidates are looked for in. */
export interface CoreTarget {
  /** What it is called in messages: `vmlinux`, or the name of a module. */
  readonly name: string;
  /** Its types. Of a split BTF, only its own are candidates. */
  readonly btf: Btf;
}

/** A type of the kernel that a local type may stand for: its name is the same, flavours left out. */
export interface CoreCandidate {
  /** Name of the {@link CoreTarget} that has it. */
  readonly target: string;
  /** Its number there. */
  readonly type: TypeId;
  /** The access in it, such as `struct task_struct.pid (0:96 @ offset 1256)`; only the type where it does not match. */
  readonly text: string;
  /** Whether what was asked for is there. */
  readonly matches: boolean;
  /** The answer it gives, when it matches. */
  readonly value: bigint | undefined;
}

/** Bytes that a load or store moves. */
export interface CoreMemory {
  /** Size of the field as the program was compiled, in bytes; 0 for a bit field. */
  readonly before: number;
  /** Size of the field in the kernel, in bytes; 0 for a bit field. */
  readonly after: number;
  /**
   * Whether an instruction may move more or fewer bytes than it was compiled for: both fields are pointers, or both
   * are integers without sign.
   */
  readonly adjustable: boolean;
  /** The sizes in candidates which agree on the place and not on the size; `undefined` when all agree. */
  readonly disputed: readonly number[] | undefined;
}

/** The answer to a {@link CoreRelocation}: plain data, to be applied or shown. */
export interface CoreFixup {
  /** The question. */
  readonly relocation: CoreRelocation;
  /** The access in the local type, such as `struct task_struct.pid (0:1 @ offset 4)`. */
  readonly local: string;
  /** The type in the kernel that was chosen; `undefined` when nothing matches, and where the kernel is not asked. */
  readonly target: CoreCandidate | undefined;
  /** The answer for the local type, which the instruction should hold. Negative for negative enumerators. */
  readonly before: bigint;
  /** The answer for the kernel, which the instruction is to hold; 0 when {@link poison} is set. */
  readonly after: bigint;
  /** Whether an instruction must hold `before`. Compilers differ in what they write for bit fields and type numbers. */
  readonly checked: boolean;
  /** Sizes of the field, for loads and stores; only for `field_byte_offset`. */
  readonly memory: CoreMemory | undefined;
  /** Whether there is no answer, and the instruction is made one that the verifier refuses when it can be reached. */
  readonly poison: boolean;
  /** Why there is no target: one sentence without a full stop. */
  readonly reason: string | undefined;
  /** All types in the kernel that were looked at. */
  readonly candidates: readonly CoreCandidate[];
}

/** One step of a path that has a meaning in C: a named member or an element of an array. */
export interface CoreAccessor {
  /** The struct or union that the member belongs to; of an array, the type of the element. */
  readonly type: TypeId;
  /** Number of the member, or of the element. */
  readonly index: number;
  /** Name of the member or enumerator; `undefined` for elements of arrays. */
  readonly name: string | undefined;
}

/** A path followed through the types of one BTF. */
export interface CoreSpec {
  /** What is asked. */
  readonly kind: CoreReloKind;
  /** The type it starts from. */
  readonly root: TypeId;
  /** Its steps, those through anonymous members left out. */
  readonly accessors: readonly CoreAccessor[];
  /** All of its steps. */
  readonly indices: readonly number[];
  /** Distance from the start, in bits. */
  readonly bitOffset: number;
}
