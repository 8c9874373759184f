// Every encoding of the instruction set, written down apart from the code under test: the bytes as RFC 9669 and the
// kernel's instruction set document have them, the builder's call, and what LLVM's assembler calls it.
import {
  add,
  addrSpaceCast,
  and,
  arsh,
  atomic,
  be,
  bswap,
  call,
  callKfunc,
  callLocal,
  callx,
  cmpxchg,
  div,
  exit,
  gotol,
  gotox,
  type Instruction,
  ja,
  jeq,
  jge,
  jgt,
  jle,
  jlt,
  jne,
  jset,
  jsge,
  jsgt,
  jsle,
  jslt,
  ldAbs,
  ldBtfId,
  ldFunction,
  ldImm64,
  ldInd,
  ldMap,
  ldMapIndex,
  ldMapIndexValue,
  ldMapValue,
  le,
  load,
  loadAcquire,
  lsh,
  mayGoto,
  mod,
  mov,
  movPercpu,
  movsx,
  mul,
  neg,
  type Operation,
  or,
  r0,
  r1,
  r2,
  r10,
  rsh,
  sdiv,
  smod,
  store,
  storeRelease,
  sub,
  w1,
  w2,
  xchg,
  xor,
} from "../../src/asm/index.ts";

/** One encoding. */
export interface Encoding {
  /** Bytes in little-endian order, as hex digits. */
  readonly hex: string;
  readonly instruction: Instruction;
  readonly operation: Operation;
  /** LLVM's text; `undefined` where LLVM has none. */
  readonly llvm: string | undefined;
}

/** The table. */
export const ENCODINGS: Encoding[] = [];

function row(hex: string, instruction: Instruction, operation: Operation, llvm?: string): void {
  ENCODINGS.push({ hex: hex.replaceAll(" ", ""), instruction, operation, llvm });
}

// Opcodes in the order: 64-bit immediate, 64-bit register, 32-bit immediate, 32-bit register.
const ARITHMETIC = [
  ["add", add, "+=", "07 0f 04 0c", "00"],
  ["sub", sub, "-=", "17 1f 14 1c", "00"],
  ["mul", mul, "*=", "27 2f 24 2c", "00"],
  ["div", div, "/=", "37 3f 34 3c", "00"],
  ["sdiv", sdiv, "s/=", "37 3f 34 3c", "01"],
  ["or", or, "|=", "47 4f 44 4c", "00"],
  ["and", and, "&=", "57 5f 54 5c", "00"],
  ["lsh", lsh, "<<=", "67 6f 64 6c", "00"],
  ["rsh", rsh, ">>=", "77 7f 74 7c", "00"],
  ["mod", mod, "%=", "97 9f 94 9c", "00"],
  ["smod", smod, "s%=", "97 9f 94 9c", "01"],
  ["xor", xor, "^=", "a7 af a4 ac", "00"],
  ["arsh", arsh, "s>>=", "c7 cf c4 cc", "00"],
] as const;
for (const [op, build, sign, opcodes, offset] of ARITHMETIC) {
  const [k64, x64, k32, x32] = opcodes.split(" ");
  const kind = "alu" as const;
  row(
    `${k64} 01 ${offset}00 05000000`,
    build(r1, 5),
    { kind, op, width: 64, dst: 1, src: undefined, imm: 5 },
    `r1 ${sign} 5`,
  );
  row(
    `${x64} 21 ${offset}00 00000000`,
    build(r1, r2),
    { kind, op, width: 64, dst: 1, src: 2, imm: 0 },
    `r1 ${sign} r2`,
  );
  row(
    `${k32} 01 ${offset}00 05000000`,
    build(w1, 5),
    { kind, op, width: 32, dst: 1, src: undefined, imm: 5 },
    `w1 ${sign} 5`,
  );
  row(
    `${x32} 21 ${offset}00 00000000`,
    build(w1, w2),
    { kind, op, width: 32, dst: 1, src: 2, imm: 0 },
    `w1 ${sign} w2`,
  );
}
row(
  "07 0a 0000 f8ffffff",
  add(r10, -8),
  { kind: "alu", op: "add", width: 64, dst: 10, src: undefined, imm: -8 },
  "r10 += -8",
);
row("87 01 0000 00000000", neg(r1), { kind: "neg", width: 64, dst: 1 }, "r1 = -r1");
row("84 01 0000 00000000", neg(w1), { kind: "neg", width: 32, dst: 1 }, "w1 = -w1");
row("b7 01 0000 ffffffff", mov(r1, -1), { kind: "mov", width: 64, dst: 1, src: undefined, imm: -1 }, "r1 = -1");
row("bf 21 0000 00000000", mov(r1, r2), { kind: "mov", width: 64, dst: 1, src: 2, imm: 0 }, "r1 = r2");
row("b4 01 0000 ffffffff", mov(w1, 0xffffffff), { kind: "mov", width: 32, dst: 1, src: undefined, imm: -1 }, "w1 = -1");
row("bc 21 0000 00000000", mov(w1, w2), { kind: "mov", width: 32, dst: 1, src: 2, imm: 0 }, "w1 = w2");
row("bf 21 0800 00000000", movsx(r1, r2, 8), { kind: "movsx", width: 64, from: 8, dst: 1, src: 2 }, "r1 = (s8)r2");
row("bf 21 1000 00000000", movsx(r1, r2, 16), { kind: "movsx", width: 64, from: 16, dst: 1, src: 2 }, "r1 = (s16)r2");
row("bf 21 2000 00000000", movsx(r1, r2, 32), { kind: "movsx", width: 64, from: 32, dst: 1, src: 2 }, "r1 = (s32)r2");
row("bc 21 0800 00000000", movsx(w1, w2, 8), { kind: "movsx", width: 32, from: 8, dst: 1, src: 2 }, "w1 = (s8)w2");
row("bc 21 1000 00000000", movsx(w1, w2, 16), { kind: "movsx", width: 32, from: 16, dst: 1, src: 2 }, "w1 = (s16)w2");
for (const [bits, imm] of [
  [16, "10"],
  [32, "20"],
  [64, "40"],
] as const) {
  row(`d4 01 0000 ${imm}000000`, le(r1, bits), { kind: "endian", op: "le", bits, dst: 1 }, `r1 = le${bits} r1`);
  row(`dc 01 0000 ${imm}000000`, be(r1, bits), { kind: "endian", op: "be", bits, dst: 1 }, `r1 = be${bits} r1`);
  row(
    `d7 01 0000 ${imm}000000`,
    bswap(r1, bits),
    { kind: "endian", op: "bswap", bits, dst: 1 },
    `r1 = bswap${bits} r1`,
  );
}
row(
  "bf 21 0100 01000000",
  addrSpaceCast(r1, r2, 0, 1),
  { kind: "addr-space-cast", dst: 1, src: 2, to: 0, from: 1 },
  "r1 = addr_space_cast(r2, 0, 1)",
);
row(
  "bf 21 0100 00000100",
  addrSpaceCast(r1, r2, 1, 0),
  { kind: "addr-space-cast", dst: 1, src: 2, to: 1, from: 0 },
  "r1 = addr_space_cast(r2, 1, 0)",
);
row("bf 21 ffff 00000000", movPercpu(r1, r2), { kind: "mov-percpu", dst: 1, src: 2 });

// Opcodes in the order: load, store of a register, store of an immediate, load-acquire and store-release.
const WIDTHS = [
  ["u8", 1, "71 73 72 d3", "w"],
  ["u16", 2, "69 6b 6a cb", "w"],
  ["u32", 4, "61 63 62 c3", "w"],
  ["u64", 8, "79 7b 7a db", "r"],
] as const;
for (const [size, bytes, opcodes, letter] of WIDTHS) {
  const [ldx, stx, st, ordered] = opcodes.split(" ");
  row(
    `${ldx} 21 0800 00000000`,
    load(size, r1, r2, 8),
    { kind: "load", size, bytes, dst: 1, src: 2, offset: 8 },
    `${letter}1 = *(${size} *)(r2 + 8)`,
  );
  row(
    `${stx} 2a f8ff 00000000`,
    store(size, r10, -8, r2),
    { kind: "store", size, bytes, dst: 10, src: 2, offset: -8 },
    `*(${size} *)(r10 - 8) = ${letter}2`,
  );
  row(
    `${st} 0a f8ff 05000000`,
    store(size, r10, -8, 5),
    { kind: "store-imm", size, bytes, dst: 10, offset: -8, imm: 5 },
    `*(${size} *)(r10 - 8) = 5`,
  );
  row(
    `${ordered} 21 0800 00010000`,
    loadAcquire(size, r1, r2, 8),
    { kind: "load-acquire", size, bytes, dst: 1, src: 2, offset: 8 },
    `${letter}1 = load_acquire((${size} *)(r2 + 8))`,
  );
  row(
    `${ordered} 2a f8ff 10010000`,
    storeRelease(size, r10, -8, r2),
    { kind: "store-release", size, bytes, dst: 10, src: 2, offset: -8 },
    `store_release((${size} *)(r10 - 8), ${letter}2)`,
  );
}
for (const [size, bytes, opcode] of [
  ["s8", 1, "91"],
  ["s16", 2, "89"],
  ["s32", 4, "81"],
] as const) {
  row(
    `${opcode} 21 0800 00000000`,
    load(size, r1, r2, 8),
    { kind: "load-signed", size, bytes, dst: 1, src: 2, offset: 8 },
    `r1 = *(${size} *)(r2 + 8)`,
  );
}
for (const [size, bytes, opcode, letter] of [
  ["u32", 4, "c3", "w"],
  ["u64", 8, "db", "r"],
] as const) {
  const common = { kind: "atomic", size, bytes, dst: 10, src: 2, offset: -8 } as const;
  const address = `(${size} *)(r10 - 8)`;
  for (const [op, imm, sign] of [
    ["add", 0x00, "+="],
    ["or", 0x40, "|="],
    ["and", 0x50, "&="],
    ["xor", 0xa0, "^="],
  ] as const) {
    const plain = imm.toString(16).padStart(2, "0");
    const fetch = (imm + 1).toString(16).padStart(2, "0");
    row(
      `${opcode} 2a f8ff ${plain}000000`,
      atomic(op, size, r10, -8, r2),
      { ...common, op, fetch: false },
      `lock *${address} ${sign} ${letter}2`,
    );
    row(
      `${opcode} 2a f8ff ${fetch}000000`,
      atomic(`fetch_${op}`, size, r10, -8, r2),
      { ...common, op, fetch: true },
      `${letter}2 = atomic_fetch_${op}(${address}, ${letter}2)`,
    );
  }
  const [exchange, compare] = size === "u64" ? ["xchg_64", "cmpxchg_64"] : ["xchg32_32", "cmpxchg32_32"];
  row(
    `${opcode} 2a f8ff e1000000`,
    xchg(size, r10, -8, r2),
    { ...common, op: "xchg", fetch: true },
    `${letter}2 = ${exchange}(r10 - 8, ${letter}2)`,
  );
  row(
    `${opcode} 2a f8ff f1000000`,
    cmpxchg(size, r10, -8, r2),
    { ...common, op: "cmpxchg", fetch: true },
    `${letter}0 = ${compare}(r10 - 8, ${letter}0, ${letter}2)`,
  );
}
for (const [size, bytes, abs, ind] of [
  ["u8", 1, "30", "50"],
  ["u16", 2, "28", "48"],
  ["u32", 4, "20", "40"],
] as const) {
  row(
    `${abs} 00 0000 0c000000`,
    ldAbs(size, 12),
    { kind: "packet-load", mode: "abs", size, bytes, src: undefined, imm: 12 },
    `r0 = *(${size} *)skb[12]`,
  );
  row(
    `${ind} 20 0000 00000000`,
    ldInd(size, r2),
    { kind: "packet-load", mode: "ind", size, bytes, src: 2, imm: 0 },
    `r0 = *(${size} *)skb[r2]`,
  );
  row(`${ind} 20 0000 0c000000`, ldInd(size, r2, 12), {
    kind: "packet-load",
    mode: "ind",
    size,
    bytes,
    src: 2,
    imm: 12,
  });
}

const CONDITIONS = [
  ["jeq", jeq, "==", "15 1d 16 1e"],
  ["jgt", jgt, ">", "25 2d 26 2e"],
  ["jge", jge, ">=", "35 3d 36 3e"],
  ["jset", jset, "&", "45 4d 46 4e"],
  ["jne", jne, "!=", "55 5d 56 5e"],
  ["jsgt", jsgt, "s>", "65 6d 66 6e"],
  ["jsge", jsge, "s>=", "75 7d 76 7e"],
  ["jlt", jlt, "<", "a5 ad a6 ae"],
  ["jle", jle, "<=", "b5 bd b6 be"],
  ["jslt", jslt, "s<", "c5 cd c6 ce"],
  ["jsle", jsle, "s<=", "d5 dd d6 de"],
] as const;
for (const [op, build, sign, opcodes] of CONDITIONS) {
  const [k64, x64, k32, x32] = opcodes.split(" ");
  const common = { kind: "jump", op, dst: 1, offset: 3 } as const;
  row(
    `${k64} 01 0300 05000000`,
    build(r1, 5, 3),
    { ...common, width: 64, src: undefined, imm: 5 },
    `if r1 ${sign} 5 goto +3`,
  );
  row(
    `${x64} 21 0300 00000000`,
    build(r1, r2, 3),
    { ...common, width: 64, src: 2, imm: 0 },
    `if r1 ${sign} r2 goto +3`,
  );
  row(
    `${k32} 01 0300 05000000`,
    build(w1, 5, 3),
    { ...common, width: 32, src: undefined, imm: 5 },
    `if w1 ${sign} 5 goto +3`,
  );
  row(
    `${x32} 21 0300 00000000`,
    build(w1, w2, 3),
    { ...common, width: 32, src: 2, imm: 0 },
    `if w1 ${sign} w2 goto +3`,
  );
}
row("05 00 feff 00000000", ja(-2), { kind: "goto", offset: -2 }, "goto -2");
row("06 00 0000 e8030000", gotol(1000), { kind: "gotol", offset: 1000 }, "gotol +1000");
row("06 00 0000 60798dff", gotol(-7505568), { kind: "gotol", offset: -7505568 });
row("e5 00 0300 00000000", mayGoto(3), { kind: "may-goto", offset: 3 }, "may_goto +3");
row("0d 01 0000 00000000", gotox(r1), { kind: "gotox", register: 1 }, "gotox r1");
row("85 00 0000 01000000", call("map_lookup_elem"), { kind: "call-helper", helper: 1 }, "call 1");
row("85 10 0000 07000000", callLocal(7), { kind: "call-local", offset: 7 });
row("85 20 0200 39300000", callKfunc(12345, 2), { kind: "call-kfunc", btfId: 12345, fdIndex: 2 });
row("8d 02 0000 00000000", callx(r2), { kind: "callx", register: 2, field: "dst" }, "callx r2");
row("95 00 0000 00000000", exit(), { kind: "exit" }, "exit");

const wide = { kind: "ld-imm64", dst: 1 } as const;
row(
  "18 01 0000 88776655 00000000 44332211",
  ldImm64(r1, 0x1122334455667788n),
  { ...wide, pseudo: "immediate", low: 0x55667788, high: 0x11223344 },
  "r1 = 0x1122334455667788 ll",
);
row(
  "18 01 0000 ffffffff 00000000 ffffffff",
  ldImm64(r1, -1),
  { ...wide, pseudo: "immediate", low: -1, high: -1 },
  "r1 = -1 ll",
);
row("18 11 0000 07000000 00000000 00000000", ldMap(r1, 7), { ...wide, pseudo: "map-fd", low: 7, high: 0 });
row("18 21 0000 07000000 00000000 10000000", ldMapValue(r1, 7, 16), { ...wide, pseudo: "map-value", low: 7, high: 16 });
row("18 31 0000 39300000 00000000 09000000", ldBtfId(r1, 12345, 9), { ...wide, pseudo: "btf-id", low: 12345, high: 9 });
row("18 41 0000 feffffff 00000000 00000000", ldFunction(r1, -2), { ...wide, pseudo: "function", low: -2, high: 0 });
row("18 51 0000 03000000 00000000 00000000", ldMapIndex(r1, 3), { ...wide, pseudo: "map-index", low: 3, high: 0 });
row("18 61 0000 03000000 00000000 10000000", ldMapIndexValue(r1, 3, 16), {
  ...wide,
  pseudo: "map-index-value",
  low: 3,
  high: 16,
});

/** r0 is in the table through calls and packet loads only; this row makes it a destination. */
row("b7 00 0000 00000000", mov(r0, 0), { kind: "mov", width: 64, dst: 0, src: undefined, imm: 0 }, "r0 = 0");
