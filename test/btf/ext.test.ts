import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type BtfExt,
  type BtfTypeSpec,
  encodeBtfExt,
  encodeFuncInfo,
  encodeLineInfo,
  layoutBtf,
  openBtf,
  readBtfExt,
  stringsOfExt,
  type TypeId,
  validateBtf,
} from "../../src/btf/index.ts";
import { fromHex, toHex } from "../../src/bytes/index.ts";
import { BtfError } from "../../src/errors.ts";
import { requires, rounds, toolPath } from "../support/harness.ts";
import { randomNumbers } from "./support/random.ts";

const test = suite("btf/ext");

const TYPES: BtfTypeSpec[] = [
  { kind: "func_proto", params: [] },
  { kind: "func", name: "f", type: 1 },
];
const id = (value: number): TypeId => value as TypeId;
const EXT: BtfExt = {
  funcInfos: [{ section: "xdp", records: [{ insnOffset: 0, type: id(2) }] }],
  lineInfos: [
    {
      section: "xdp",
      records: [
        { insnOffset: 0, fileName: "a.c", line: "int f()", lineNumber: 3, column: 7 },
        { insnOffset: 8, fileName: "a.c", line: "", lineNumber: 4, column: 1023 },
      ],
    },
  ],
  coreRelos: [{ section: "xdp", records: [{ insnOffset: 16, type: id(1), access: "0:1", kind: "type_matches" }] }],
};
const { bytes: BTF, offsetOf } = layoutBtf(TYPES, { strings: stringsOfExt(EXT) });
const btf = openBtf(BTF);

// Strings: f 1, xdp 3, a.c 7, "int f()" 11, "0:1" 19.
const LITTLE = `9feb0100 20000000 00000000 14000000 14000000 2c000000 40000000 1c000000
  08000000 03000000 01000000  00000000 02000000
  10000000 03000000 02000000  00000000 07000000 0b000000 070c0000  08000000 07000000 00000000 ff130000
  10000000 03000000 01000000  10000000 01000000 13000000 0c000000`;

function swapped(): Uint8Array {
  const bytes = fromHex(LITTLE);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0xeb9f);
  for (let at = 4; at < bytes.length; at += 4) view.setUint32(at, view.getUint32(at, true));
  return bytes;
}

test("reads and writes as by hand, in both byte orders", () => {
  assert.equal(readBtfExt(fromHex(LITTLE), btf), EXT);
  assert.equal(readBtfExt(swapped(), btf), EXT);
  assert.is(toHex(encodeBtfExt(EXT, offsetOf)), toHex(fromHex(LITTLE)));
  assert.is(toHex(encodeBtfExt(EXT, offsetOf, false)), toHex(swapped()));
});

test("writes what BPF_PROG_LOAD takes", () => {
  const lines = EXT.lineInfos[0]!.records;
  assert.is(toHex(encodeFuncInfo([{ insnOffset: 24, type: id(2) }])), "0300000002000000");
  assert.is(toHex(encodeLineInfo(lines.slice(1), offsetOf)), "010000000700000000000000ff130000");
  assert.throws(() => encodeFuncInfo([{ insnOffset: 4, type: id(2) }]), /does not fit u32/);
  assert.throws(
    () => encodeLineInfo([{ ...lines[0]!, lineNumber: 1 << 22 }], offsetOf),
    /Line number is 4194304, expected 0 to 4194303/,
  );
  assert.throws(
    () => encodeLineInfo([{ ...lines[0]!, fileName: "other.c" }], offsetOf),
    /String "other.c" was not written/,
  );
});

test("takes records that are longer than those known, and headers without CO-RE", () => {
  // 24 bytes of header, and records of 12 bytes.
  const bytes = fromHex(`9feb0100 18000000 00000000 18000000 18000000 00000000
    0c000000 03000000 01000000 08000000 02000000 ffffffff`);
  assert.equal(readBtfExt(bytes, btf), {
    funcInfos: [{ section: "xdp", records: [{ insnOffset: 8, type: 2 }] }],
    lineInfos: [],
    coreRelos: [],
  });
});

function failure(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.instance(error, BtfError);
    return `${(error as BtfError).code}: ${(error as BtfError).message}`;
  }
  return "nothing thrown";
}

const BROKEN: [string, Record<number, number>, string][] = [
  ["magic", { 0: 0x0001eb9e }, "ERR_UNSUPPORTED_FORMAT: Magic is 0x9eeb, expected 0xeb9f (.BTF.ext header at byte 0)"],
  ["version", { 0: 0x0002eb9f }, "ERR_UNSUPPORTED_FORMAT: Version is 2, expected 1 (.BTF.ext header at byte 2)"],
  ["flags", { 0: 0x0301eb9f }, "ERR_UNSUPPORTED_FORMAT: Flags are 0x3, expected 0 (.BTF.ext header at byte 3)"],
  ["short header", { 4: 16 }, "ERR_MALFORMED: Header length is 16, expected at least 24 (.BTF.ext header at byte 4)"],
  [
    "long header",
    { 4: 0xffffffff },
    "ERR_TRUNCATED: Need 4294967295 bytes at offset 0, input ends at 124 (.BTF.ext header at byte 0)",
  ],
  [
    "wrapping offset",
    { 8: 0xfffffffc },
    "ERR_TRUNCATED: Need 20 bytes at offset 4294967324, input ends at 124 (.BTF.ext header at byte 124)",
  ],
  ["misaligned", { 8: 2 }, "ERR_MALFORMED: Offset 2 of func_info is no multiple of 4 (.BTF.ext header at byte 8)"],
  [
    "records of 0 bytes",
    { 32: 0 },
    "ERR_MALFORMED: Record size is 0, expected a multiple of 4 from 8 to 256 (.BTF.ext func_info at byte 32)",
  ],
  [
    "records of 2 GiB",
    { 52: 0x80000000 },
    "ERR_MALFORMED: Record size is 2147483648, expected a multiple of 4 from 16 to 256 (.BTF.ext line_info at byte 52)",
  ],
  ["no records", { 40: 0 }, "ERR_MALFORMED: The section has no records (.BTF.ext func_info[0] at byte 40)"],
  [
    "too many records",
    { 40: 0xffffffff },
    "ERR_TRUNCATED: Need 34359738360 bytes at offset 44, input ends at 52 (.BTF.ext func_info[0] at byte 44)",
  ],
  [
    "name of the section",
    { 36: 99 },
    "ERR_MALFORMED: String offset 99 is outside of .BTF (.BTF.ext func_info[0] at byte 36)",
  ],
  [
    "inside an instruction",
    { 44: 4 },
    "ERR_MALFORMED: Offset 4 lies inside an instruction (.BTF.ext func_info[0].record[0] at byte 44)",
  ],
  [
    "type that is not there",
    { 48: 3 },
    "ERR_MALFORMED: Type 3 does not exist, there are 0 to 2 (.BTF.ext func_info[0].record[0] at byte 48)",
  ],
  [
    "type that is no function",
    { 48: 1 },
    "ERR_MALFORMED: Type 1 is of kind func_proto, expected func (.BTF.ext func_info[0].record[0] at byte 48)",
  ],
  [
    "line",
    { 88: 0x7fffffff },
    "ERR_MALFORMED: String offset 2147483647 is outside of .BTF (.BTF.ext line_info[0].record[1] at byte 88)",
  ],
  [
    "kind of relocation",
    { 120: 99 },
    "ERR_UNSUPPORTED_FORMAT: Unknown kind of relocation 99 (.BTF.ext core_relo[0].record[0] at byte 120)",
  ],
];

for (const [name, changes, expected] of BROKEN) {
  test(`refuses: ${name}`, () => {
    const bytes = fromHex(LITTLE);
    for (const [at, value] of Object.entries(changes)) new DataView(bytes.buffer).setUint32(Number(at), value, true);
    assert.is(
      failure(() => readBtfExt(bytes, btf)),
      expected,
    );
  });
}

test("prefixes are refused, mutations give an answer or BtfError", () => {
  const bytes = fromHex(LITTLE);
  for (let length = 0; length < bytes.length; length++) {
    assert.match(
      failure(() => readBtfExt(bytes.subarray(0, length), btf)),
      /^ERR_/,
    );
  }
  for (let seed = 0; seed < rounds(5000, 100_000); seed++) {
    const below = randomNumbers(seed);
    const copy = bytes.slice();
    for (let i = 1 + below(3); i > 0; i--) copy[below(copy.length)] = below(3) === 0 ? 0xff : below(256);
    failure(() => readBtfExt(copy, btf));
  }
});

const SOURCE = `
struct task { int pid; struct { long a; int b; } inner; };
#define preserve __attribute__((preserve_access_index))
struct other { char c; struct task tasks[3]; } preserve;
static __attribute__((noinline)) int helper(struct other *o)
{
  return o->tasks[1].inner.b;
}
__attribute__((section("socket"), used))
int prog(struct other *o)
{
  int size = __builtin_preserve_type_info(*(struct task *)0, 1);
  return helper(o) + size;
}
`;

for (const target of ["bpfel", "bpfeb"]) {
  requires(
    test,
    "tool:clang",
    "tool:llvm-objcopy",
  )(`reads what clang writes for ${target}`, () => {
    const folder = mkdtempSync(join(tmpdir(), "rawbpf-"));
    try {
      const run = (program: string, ...args: string[]): void => {
        const result = spawnSync(toolPath(program)!, args, { cwd: folder, encoding: "utf8" });
        assert.is(result.status, 0, result.stderr);
      };
      writeFileSync(join(folder, "prog.c"), SOURCE);
      run("clang", "-target", target, "-O2", "-g", "-c", "prog.c", "-o", "prog.o");
      run("llvm-objcopy", "--dump-section", ".BTF=btf", "--dump-section", ".BTF.ext=ext", "prog.o");
      const object = openBtf(readFileSync(join(folder, "btf")));
      assert.is(object.littleEndian, target === "bpfel");
      validateBtf(object);
      const ext = readBtfExt(readFileSync(join(folder, "ext")), object);
      assert.equal(
        ext.funcInfos
          .map(({ section, records }) => `${section} ${records.map(({ type }) => object.nameOf(type))}`)
          .sort(),
        [".text helper", "socket prog"],
      );
      let lines = 0;
      for (const { records } of ext.lineInfos) {
        for (const { fileName, line, lineNumber } of records) {
          assert.ok(fileName.endsWith("prog.c"), fileName);
          assert.is(line, SOURCE.split("\n")[lineNumber - 1]);
          lines++;
        }
      }
      assert.ok(lines > 4);
      const relos = ext.coreRelos.flatMap(({ section, records }) =>
        records.map(({ type, access, kind }) => `${section} ${object.nameOf(type)} ${access} ${kind}`),
      );
      assert.ok(relos.includes(".text other 0:1:1 field_byte_offset"), relos.join("; "));
      assert.ok(relos.includes("socket task 0 type_size"), relos.join("; "));
      // Written again with the same strings, it reads the same.
      const again = layoutBtf(object.types(), { strings: stringsOfExt(ext), littleEndian: object.littleEndian });
      const bytes = encodeBtfExt(ext, again.offsetOf, object.littleEndian);
      assert.equal(readBtfExt(bytes, openBtf(again.bytes)), ext);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test.run();
