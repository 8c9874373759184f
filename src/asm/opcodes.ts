// Browser-safe.

/** Instruction class: the low three bits of the opcode. */
export const Class = { ld: 0, ldx: 1, st: 2, stx: 3, alu: 4, jmp: 5, jmp32: 6, alu64: 7 } as const;
/** One of the values of {@link Class}. */
export type Class = (typeof Class)[keyof typeof Class];

/** Width of a load or store: bits 3 and 4 of the opcode in the four load and store classes. */
export const Size = { w: 0x00, h: 0x08, b: 0x10, dw: 0x18 } as const;
/** One of the values of {@link Size}. */
export type Size = (typeof Size)[keyof typeof Size];

/** Addressing mode: the high three bits of the opcode in the four load and store classes. */
export const Mode = { imm: 0x00, abs: 0x20, ind: 0x40, mem: 0x60, memsx: 0x80, atomic: 0xc0 } as const;
/** One of the values of {@link Mode}. */
export type Mode = (typeof Mode)[keyof typeof Mode];

/** Source bit of arithmetic and jumps: the immediate (`k`) or a register (`x`). In byte swaps: little or big endian. */
export const Source = { k: 0x00, x: 0x08 } as const;
/** One of the values of {@link Source}. */
export type Source = (typeof Source)[keyof typeof Source];

/** Operation of the classes `alu` and `alu64`: the high four bits of the opcode. */
export const AluOp = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  neg: 0x80,
  mod: 0x90,
  xor: 0xa0,
  mov: 0xb0,
  arsh: 0xc0,
  end: 0xd0,
} as const;
/** One of the values of {@link AluOp}. */
export type AluOp = (typeof AluOp)[keyof typeof AluOp];

/** Operation of the classes `jmp` and `jmp32`: the high four bits of the opcode. */
export const JumpOp = {
  ja: 0x00,
  jeq: 0x10,
  jgt: 0x20,
  jge: 0x30,
  jset: 0x40,
  jne: 0x50,
  jsgt: 0x60,
  jsge: 0x70,
  call: 0x80,
  exit: 0x90,
  jlt: 0xa0,
  jle: 0xb0,
  jslt: 0xc0,
  jsle: 0xd0,
  jcond: 0xe0,
} as const;
/** One of the values of {@link JumpOp}. */
export type JumpOp = (typeof JumpOp)[keyof typeof JumpOp];

/** Atomic operation: the immediate of a `stx` with mode `atomic`. Add {@link ATOMIC_FETCH} to the first four for the old value. */
export const AtomicOp = {
  add: 0x00,
  or: 0x40,
  and: 0x50,
  xor: 0xa0,
  xchg: 0xe1,
  cmpxchg: 0xf1,
  loadAcquire: 0x100,
  storeRelease: 0x110,
} as const;
/** One of the values of {@link AtomicOp}. */
export type AtomicOp = (typeof AtomicOp)[keyof typeof AtomicOp];

/** Bit of an atomic operation's immediate: the source register receives the old value. */
export const ATOMIC_FETCH = 0x01;

/** What the source field of an `ld_imm64` says about its 64 bits. */
export const PseudoSource = {
  /** A plain 64-bit constant. */
  immediate: 0,
  /** Address of the map with descriptor `imm`. */
  mapFd: 1,
  /** Address inside the only value of the map with descriptor `imm`, `high` bytes from its start. */
  mapValue: 2,
  /** Address of the kernel variable with BTF type id `imm` in the BTF with descriptor `high` (0: vmlinux). */
  btfId: 3,
  /** Address of the function `imm` slots behind the next slot. */
  function: 4,
  /** Like `mapFd`, with an index into the array of descriptors given at load. */
  mapIndex: 5,
  /** Like `mapValue`, with an index into the array of descriptors given at load. */
  mapIndexValue: 6,
} as const;
/** One of the values of {@link PseudoSource}. */
export type PseudoSource = (typeof PseudoSource)[keyof typeof PseudoSource];

/** What the source field of a `call` says about its immediate. */
export const CallSource = {
  /** Number of a helper. */
  helper: 0,
  /** Distance in slots to a function of the same program. */
  local: 1,
  /** BTF id of a kernel function; `offset` chooses the BTF. */
  kfunc: 2,
} as const;
/** One of the values of {@link CallSource}. */
export type CallSource = (typeof CallSource)[keyof typeof CallSource];

/** `offset` of division and remainder: unsigned or signed. */
export const DivisionOffset = { unsigned: 0, signed: 1 } as const;

/** `offset` of `mov` in its register form beyond a plain copy and the widths 8, 16, 32 of `movsx`. */
export const MovOffset = { plain: 0, addrSpaceCast: 1, percpu: -1 } as const;

/** Highest register that exists: r10, the read-only frame pointer. */
export const MAX_REGISTER = 10;

/** Bytes of one slot; an `ld_imm64` takes two. */
export const SLOT_BYTES = 8;

/** Bytes of stack a function may use, and with it the whole chain of calls before Linux 6.12. */
export const STACK_LIMIT = 512;
