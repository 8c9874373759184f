// Browser-safe.

/** What kind of file an ELF file is: `e_type`. */
export const ElfType = { none: 0, rel: 1, exec: 2, dyn: 3, core: 4 } as const;

/** What processor it is for: `e_machine`, the ones that this library has to do with. */
export const ElfMachine = {
  none: 0,
  i386: 3,
  mips: 8,
  ppc64: 21,
  s390: 22,
  arm: 40,
  x86_64: 62,
  aarch64: 183,
  riscv: 243,
  bpf: 247,
  loongarch: 258,
} as const;

/** What a section holds: `sh_type`. */
export const SectionType = {
  null: 0,
  progbits: 1,
  symtab: 2,
  strtab: 3,
  rela: 4,
  hash: 5,
  dynamic: 6,
  note: 7,
  nobits: 8,
  rel: 9,
  dynsym: 11,
  symtab_shndx: 18,
  llvm_addrsig: 0x6fff4c03,
} as const;

/** Bits of `sh_flags`. */
export const SectionFlag = {
  write: 0x1,
  alloc: 0x2,
  execinstr: 0x4,
  merge: 0x10,
  strings: 0x20,
  info_link: 0x40,
  group: 0x200,
  tls: 0x400,
  compressed: 0x800,
} as const;

/** How a symbol is seen from other files. */
export const SymbolBinding = { local: 0, global: 1, weak: 2 } as const;

/** What a symbol stands for. */
export const SymbolType = {
  notype: 0,
  object: 1,
  func: 2,
  section: 3,
  file: 4,
  common: 5,
  tls: 6,
  gnu_ifunc: 10,
} as const;

/** How a symbol is seen from other parts of a linked program: the low two bits of `st_other`. */
export const SymbolVisibility = { default: 0, internal: 1, hidden: 2, protected: 3 } as const;

/** Relocation types of {@link ElfMachine} `bpf`. */
export const BpfRelocation = {
  none: 0,
  /** `R_BPF_64_64`: the 64 bits of an `ld_imm64`, its two immediates. */
  "64_64": 1,
  /** `R_BPF_64_ABS64`: 64 bits of data. */
  "64_abs64": 2,
  /** `R_BPF_64_ABS32`: 32 bits of data. */
  "64_abs32": 3,
  /** `R_BPF_64_NODYLD32`: 32 bits of data that no loader touches: `.BTF.ext`. */
  "64_nodyld32": 4,
  /** `R_BPF_64_32`: the immediate of a call. */
  "64_32": 10,
} as const;

/** What a program header describes: `p_type`. */
export const SegmentType = { null: 0, load: 1, dynamic: 2, interp: 3, note: 4, phdr: 6, tls: 7 } as const;

/** Bits of `p_flags`. */
export const SegmentFlag = { execute: 1, write: 2, read: 4 } as const;

/** Section numbers with a meaning of their own: `SHN_*`. */
export const SHN = { undef: 0, loreserve: 0xff00, abs: 0xfff1, common: 0xfff2, xindex: 0xffff } as const;

/** `e_phnum` when the number stands in section 0. */
export const PN_XNUM = 0xffff;

/**
 * A number with its name, for messages: `62 (x86_64)`.
 *
 * @param names one of the tables here
 * @param value number found
 */
export function named(names: Readonly<Record<string, number>>, value: number): string {
  for (const name in names) if (names[name] === value) return `${value} (${name})`;
  return String(value);
}
