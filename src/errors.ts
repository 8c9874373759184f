// Browser-safe.

/**
 * Every error code of this library that is not an errno name. Append only: a code, once published, keeps its meaning.
 * A {@link SyscallError} carries an errno name (`"EPERM"`) instead.
 */
export type BpfErrorCode =
  // Reading and writing bytes
  | "ERR_TRUNCATED"
  | "ERR_OUT_OF_RANGE"
  | "ERR_MALFORMED"
  | "ERR_UNSUPPORTED_FORMAT"
  | "ERR_LIMIT"
  // Assembler
  | "ERR_ASM_SYNTAX"
  | "ERR_ASM_UNKNOWN_MNEMONIC"
  | "ERR_ASM_OPERAND"
  | "ERR_ASM_LABEL"
  | "ERR_ASM_RANGE"
  | "ERR_ASM_ENCODING"
  | "ERR_ASM_UNKNOWN_HELPER"
  | "ERR_ASM_UNRESOLVED"
  // BTF and CO-RE
  | "ERR_BTF_INVALID"
  | "ERR_BTF_NOT_FOUND"
  | "ERR_BTF_CYCLE"
  | "ERR_BTF_UNSIZED"
  | "ERR_BTF_VALUE"
  | "ERR_CORE_AMBIGUOUS"
  | "ERR_CORE_SPEC"
  | "ERR_CORE_RELOCATION"
  // ELF
  | "ERR_ELF_INVALID"
  | "ERR_ELF_LINK"
  // Kernel side
  | "ERR_VERIFIER"
  | "ERR_NOT_SUPPORTED"
  | "ERR_NO_FFI"
  | "ERR_CLOSED"
  | "ERR_RING_CORRUPT"
  | "ERR_TRACEFS"
  | "ERR_MAP_SPEC"
  | "ERR_TYPE_MISMATCH"
  | "ERR_EXTERN"
  | "ERR_OBJECT"
  | "ERR_PIN"
  | "ERR_MAP_INCOMPATIBLE"
  | "ERR_ATTACH_TARGET"
  | "ERR_SYMBOL_NOT_FOUND"
  | "ERR_SYMBOL_AMBIGUOUS"
  | "ERR_SYMBOLS_HIDDEN"
  | "ERR_FILE_NOT_FOUND"
  | "ERR_FILE_CHANGED"
  | "ERR_USDT_ARGUMENTS"
  // The machine
  | "ERR_VM_PROGRAM"
  | "ERR_VM_FAULT"
  | "ERR_VM_BUDGET"
  | "ERR_VM_HELPER";

/** What a {@link BpfError} may carry besides its message. */
export interface BpfErrorOptions {
  /** What to do about it, one sentence. Printed on a line of its own. */
  readonly hint?: string | undefined;
  /** The error that led to this one. */
  readonly cause?: unknown;
}

/** Base class of every error this library throws on purpose, except `TypeError` and `RangeError` for wrong arguments. */
export class BpfError extends Error {
  /** Stable machine-readable code: one of {@link BpfErrorCode}, or an errno name in a `SyscallError`. */
  readonly code: string;
  /** What to do about it, when that is known for certain. */
  readonly hint: string | undefined;

  /**
   * @param code stable code
   * @param message what failed: sentence case, no final full stop
   * @param options hint and cause
   */
  constructor(code: BpfErrorCode | (string & {}), message: string, options: BpfErrorOptions = {}) {
    super(
      options.hint === undefined ? message : `${message}\nHint: ${options.hint}`,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = new.target.name;
    this.code = code;
    this.hint = options.hint;
  }
}

/** Where a parser stood when it gave up. */
export interface ParseErrorOptions extends BpfErrorOptions {
  /** Path of the thing being read, for example `.BTF type[812].member[2]`. */
  readonly path?: string | undefined;
  /** Absolute byte offset in the input. */
  readonly offset?: number | undefined;
}

/** Base of the errors that parsers of binary formats throw: says where. */
export class ParseError extends BpfError {
  /** Path of the thing being read, for example `.BTF type[812].member[2]`; empty when unknown. */
  readonly path: string;
  /** Absolute byte offset in the input, or `undefined` when the fault has no single place. */
  readonly offset: number | undefined;

  constructor(code: BpfErrorCode, message: string, options: ParseErrorOptions = {}) {
    const path = options.path ?? "";
    const at = options.offset === undefined ? "" : ` at byte ${options.offset}`;
    const where = path === "" ? at : ` (${path}${at})`;
    super(code, `${message}${where}`, options);
    this.path = path;
    this.offset = options.offset;
  }
}

/** A malformed or unsupported ELF file. */
export class ElfError extends ParseError {}

/** Malformed BTF, a type that cannot be found, or a CO-RE relocation that cannot be computed. */
export class BtfError extends ParseError {}

/** A feature that this kernel or machine does not offer. */
export class NotSupportedError extends BpfError {
  /** The feature, in the kernel's terms, for example `bpf_link for tracepoints`. */
  readonly feature: string;
  /** The first kernel version that has it, for example `"5.15"`, where known. */
  readonly minimumKernel: string | undefined;

  constructor(feature: string, options: BpfErrorOptions & { readonly minimumKernel?: string | undefined } = {}) {
    const minimum = options.minimumKernel === undefined ? "" : `: needs Linux ${options.minimumKernel} or newer`;
    super("ERR_NOT_SUPPORTED", `${feature} is not supported here${minimum}`, options);
    this.feature = feature;
    this.minimumKernel = options.minimumKernel;
  }
}
