import { BpfError } from "../errors.ts";

/** Where an argument of a USDT probe is when the probe is hit. */
export type UsdtArgument = {
  /** Bytes: 1, 2, 4 or 8. */
  readonly size: number;
  /** Whether smaller ones are extended with their sign. */
  readonly signed: boolean;
} & (
  | { readonly kind: "constant"; readonly value: bigint }
  /** In a register: `offset` is its place in `struct pt_regs`, bytes. */
  | { readonly kind: "register"; readonly register: string; readonly offset: number }
  /** In memory, at the address in a register plus a displacement. */
  | { readonly kind: "memory"; readonly register: string; readonly offset: number; readonly displacement: bigint }
  /** In memory, at a register plus another one times 1, 2, 4 or 8 plus a displacement. */
  | {
      readonly kind: "indexed";
      readonly register: string;
      readonly offset: number;
      readonly index: string;
      readonly indexOffset: number;
      readonly scale: number;
      readonly displacement: bigint;
    }
);

/** Processors whose arguments can be read. */
export type UsdtArchitecture = "x64" | "arm64";

/** Registers by place in `struct pt_regs`: the names of each, by width. */
const X64: readonly (readonly [offset: number, ...names: string[]])[] = [
  [0, "r15", "r15d", "r15w", "r15b"],
  [8, "r14", "r14d", "r14w", "r14b"],
  [16, "r13", "r13d", "r13w", "r13b"],
  [24, "r12", "r12d", "r12w", "r12b"],
  [32, "rbp", "ebp", "bp", "bpl"],
  [40, "rbx", "ebx", "bx", "bl"],
  [48, "r11", "r11d", "r11w", "r11b"],
  [56, "r10", "r10d", "r10w", "r10b"],
  [64, "r9", "r9d", "r9w", "r9b"],
  [72, "r8", "r8d", "r8w", "r8b"],
  [80, "rax", "eax", "ax", "al"],
  [88, "rcx", "ecx", "cx", "cl"],
  [96, "rdx", "edx", "dx", "dl"],
  [104, "rsi", "esi", "si", "sil"],
  [112, "rdi", "edi", "di", "dil"],
  [128, "rip", "eip", "ip"],
  [152, "rsp", "esp", "sp", "spl"],
];

const places: { readonly [A in UsdtArchitecture]: ReadonlyMap<string, number> } = {
  x64: /* @__PURE__ */ new Map(X64.flatMap(([offset, ...names]) => names.map((name) => [name, offset] as const))),
  arm64: /* @__PURE__ */ new Map([
    ...Array.from({ length: 31 }, (_, n) => [`x${n}`, 8 * n] as const),
    ...Array.from({ length: 31 }, (_, n) => [`w${n}`, 8 * n] as const),
    ["sp", 248] as const,
  ]),
};

/** The most arguments that a probe can have. */
export const MAX_USDT_ARGUMENTS = 12;

/**
 * Reads where the arguments of a USDT probe are.
 *
 * @param text as the probe's note has it: `-4@%edi 8@-16(%rbp) 8@$5`, or `-4@w0 8@[sp, 16]` on arm64
 * @param architecture of the program
 * @returns one entry for each argument
 * @throws BpfError `ERR_USDT_ARGUMENTS` for what no assembler writes, registers that a probe does not see (vector registers),
 *   and more than 12
 * @example
 * ```ts
 * import { parseUsdtArguments } from "rawbpf/symbols";
 *
 * parseUsdtArguments("-4@%edi 8@-16(%rbp)", "x64").length; // 2
 * ```
 */
export function parseUsdtArguments(text: string, architecture: UsdtArchitecture): UsdtArgument[] {
  const found: UsdtArgument[] = [];
  let rest = text.trim();
  while (rest !== "") {
    // Within brackets arm64 has blanks: an argument ends where the next size begins.
    const match = /^(-?[1248])(f?)@([\s\S]*?)(?:\s+(?=-?\d+f?@)|$)/.exec(rest);
    if (match === null) throw malformed(text, rest, "expected a size of 1, 2, 4 or 8 and @");
    if (match[2] === "f")
      throw malformed(text, rest, "floating-point arguments lie in registers that a probe does not see");
    const size = Math.abs(Number(match[1]));
    const where = match[3]!.trim();
    const place = architecture === "x64" ? x64Place(where) : arm64Place(where);
    if (typeof place === "string") throw malformed(text, where, place);
    found.push({ size, signed: match[1]!.startsWith("-"), ...place });
    if (found.length > MAX_USDT_ARGUMENTS) throw malformed(text, where, `more than ${MAX_USDT_ARGUMENTS} arguments`);
    rest = rest.slice(match[0].length);
  }
  return found;
}

type Place = UsdtArgument extends infer A ? (A extends unknown ? Omit<A, "size" | "signed"> : never) : never;

function malformed(text: string, at: string, why: string): BpfError {
  return new BpfError("ERR_USDT_ARGUMENTS", `Cannot read the arguments "${text}" at "${at}": ${why}`);
}

function number(text: string): bigint | undefined {
  const match = /^([+-]?)(0[xX][0-9a-fA-F]+|\d+)$/.exec(text);
  if (match === null) return undefined;
  const value = BigInt(match[2]!);
  return match[1] === "-" ? -value : value;
}

/** Registers count only with their sign before them; a misspelt one must not pass for a symbol. */
function register(architecture: UsdtArchitecture, name: string): number | undefined {
  return places[architecture].get(name);
}

function x64Place(where: string): Place | string {
  const unknown = (name: string): string => `a probe does not see a register "${name}"`;
  if (where.startsWith("$")) {
    const value = number(where.slice(1));
    return value === undefined ? "no number after $" : { kind: "constant", value };
  }
  if (where.startsWith("%")) {
    const offset = register("x64", where.slice(1));
    return offset === undefined ? unknown(where) : { kind: "register", register: where.slice(1), offset };
  }
  const match = /^([^()]*)\(\s*%(\w+)\s*(?:,\s*%(\w+)\s*(?:,\s*(\d+)\s*)?)?\)$/.exec(where);
  if (match === null) return "expected $number, %register or displacement(%register)";
  const displacement = match[1]!.trim() === "" ? 0n : number(match[1]!.trim());
  // A symbol's name there is an address that only the linker knows.
  if (displacement === undefined) return `"${match[1]}" is no number`;
  const offset = register("x64", match[2]!);
  if (offset === undefined) return unknown(match[2]!);
  if (match[3] === undefined) return { kind: "memory", register: match[2]!, offset, displacement };
  const indexOffset = register("x64", match[3]);
  if (indexOffset === undefined) return unknown(match[3]);
  const scale = Number(match[4] ?? 1);
  if (![1, 2, 4, 8].includes(scale)) return "a scale is 1, 2, 4 or 8";
  return { kind: "indexed", register: match[2]!, offset, index: match[3], indexOffset, scale, displacement };
}

function arm64Place(where: string): Place | string {
  const value = number(where);
  if (value !== undefined) return { kind: "constant", value };
  const memory = /^\[\s*(\w+)\s*(?:,\s*#?([+-]?\w+)\s*)?\]$/.exec(where);
  if (memory !== null) {
    const offset = register("arm64", memory[1]!);
    if (offset === undefined) return `a probe does not see a register "${memory[1]}"`;
    const displacement = memory[2] === undefined ? 0n : number(memory[2]);
    if (displacement === undefined) return `"${memory[2]}" is no number`;
    return { kind: "memory", register: memory[1]!, offset, displacement };
  }
  const offset = register("arm64", where);
  return offset === undefined
    ? `expected a number, a register or [register, displacement]; a probe does not see "${where}"`
    : { kind: "register", register: where, offset };
}

/**
 * Bytes of an entry of the map of specifications: 12 arguments, the cookie, and their number. `usdt.bpf.h` of libbpf 1.7
 * has arguments of 24 bytes, the older ones of 16.
 */
export const USDT_SPEC_SIZES: readonly [before17: number, since17: number] = [208, 304];

const KINDS = { constant: 0, register: 1, memory: 2, indexed: 3 } as const;

/**
 * Writes `struct __bpf_usdt_spec`, which the functions of `usdt.bpf.h` in a program read: where the arguments are, and a
 * cookie. Readers of the older form (208 bytes) answer `EINVAL` for indexed arguments.
 *
 * @param args from {@link parseUsdtArguments}
 * @param cookie value of `bpf_usdt_cookie()`
 * @param size bytes of the map's values: one of {@link USDT_SPEC_SIZES}. Default 208
 * @returns that many bytes, little-endian
 * @throws BpfError `ERR_USDT_ARGUMENTS` when there are more than 12; RangeError for another size
 */
export function encodeUsdtSpec(
  args: readonly UsdtArgument[],
  cookie = 0n,
  size: number = USDT_SPEC_SIZES[0],
): Uint8Array {
  if (args.length > MAX_USDT_ARGUMENTS) {
    throw new BpfError("ERR_USDT_ARGUMENTS", `A probe has ${args.length} arguments: ${MAX_USDT_ARGUMENTS} can be read`);
  }
  if (!USDT_SPEC_SIZES.includes(size)) throw new RangeError(`Specifications have 208 or 304 bytes, not ${size}`);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const wide = size === USDT_SPEC_SIZES[1];
  const each = wide ? 24 : 16;
  args.forEach((arg, index) => {
    const at = index * each;
    const value = arg.kind === "constant" ? arg.value : arg.kind === "register" ? 0n : arg.displacement;
    view.setBigUint64(at, BigInt.asUintN(64, value), true);
    view.setUint8(at + 8, KINDS[arg.kind]);
    if (arg.kind === "indexed") {
      const packed = arg.indexOffset | (Math.log2(arg.scale) << 12);
      // In the wide form the bit field of 16 bits has a place of its own, as no unit of 16 bits may be crossed.
      view.setUint16(at + (wide ? 10 : 9), packed, true);
    }
    const tail = at + (wide ? 14 : 12);
    if (arg.kind !== "constant") view.setInt16(tail, arg.offset, true);
    view.setUint8(tail + 2, arg.signed ? 1 : 0);
    view.setUint8(tail + 3, 64 - 8 * arg.size);
  });
  view.setBigUint64(MAX_USDT_ARGUMENTS * each, BigInt.asUintN(64, cookie), true);
  view.setInt16(MAX_USDT_ARGUMENTS * each + 8, args.length, true);
  return bytes;
}
