import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assembleFile, decode, type Instruction, LD_IMM64, printInstruction } from "../../src/asm/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { findSection, readElf, SectionType, sectionData } from "../../src/elf/index.ts";
import { requires, toolPath } from "../support/harness.ts";

const test = suite("asm text against clang");
const withClang = requires(test, "tool:clang>=19");

const folder = mkdtempSync(join(tmpdir(), "rawbpf-clang-"));
test.after(() => rmSync(folder, { recursive: true }));

const PRELUDE = `
#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef signed char s8; typedef short s16; typedef int s32; typedef long long s64;
static void *(*bpf_map_lookup_elem)(void *, const void *) = (void *)1;
static long (*bpf_trace_printk)(const char *, u32, ...) = (void *)6;
static long (*bpf_loop)(u32, void *, void *, u64) = (void *)181;
char licence[] SEC("license") = "GPL";
`;

const PROGRAMS: Readonly<Record<string, string>> = {
  maps: `${PRELUDE}
struct { int (*type)[1]; int (*max_entries)[16]; u32 *key; u64 *value; } counts SEC(".maps");
struct event { u32 pid; char comm[16]; u64 when; };
u64 total = 7; static volatile struct event last; const char format[] = "n %d\\n\\x01\\x7f\\"\\\\";
SEC("xdp") int pass(u8 *ctx) {
  u32 key = ctx[3];
  u64 *value = bpf_map_lookup_elem(&counts, &key);
  if (!value) return 0;
  __sync_fetch_and_add(value, 1);
  u64 old = __sync_fetch_and_xor(value, total);
  total += old % 10;
  last.pid = old >> 32; last.when = total;
  bpf_trace_printk(format, sizeof(format), old);
  return old > 0x1122334455667788ull;
}`,
  functions: `${PRELUDE}
extern int kernel_function(u64) SEC(".ksyms");
static u32 table[4] = {1, 2, 3, 4};
NOINLINE int helper(u64 a, int b) {
  volatile int array[4];
  for (int i = 0; i < 4; i++) array[i] = a * i + b;
  return array[b & 3] / ((unsigned)b | 1) + (s16)a;
}
static NOINLINE int callback(u32 i, u32 *context) { *context ^= i; return i > 5 ? __builtin_bswap32(i) : 1; }
SEC("tc/ingress") int many(u32 *ctx) {
  u32 n = 3;
  bpf_loop(10, callback, &n, 0);
  switch (ctx[0]) {
    case 1: return helper(ctx[1], n);
    case 5: return table[n & 3];
    case 7: return kernel_function(n);
    case 9: return (s8)ctx[2] * (s64)(s32)ctx[3] < -5;
    case 11: for (u32 i = 0; i < ctx[4]; i++) n = n * 31 + (ctx[5] >> (i & 31));
  }
  return n;
}
SEC("socket") int other(u8 *ctx) { return helper(*(u16 *)(ctx + 2), *(s8 *)ctx) - *(s32 *)(ctx + 4); }
`,
};

function compile(name: string, ...args: readonly string[]): { text: string; object: Uint8Array } {
  writeFileSync(join(folder, `${name}.c`), PROGRAMS[name]!);
  const run = (...rest: readonly string[]): void => {
    const all = ["-O2", "-target", "bpf", ...args, `${name}.c`, ...rest];
    execFileSync(toolPath("clang")!, all, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  };
  run("-S", "-o", `${name}.s`);
  run("-c", "-o", `${name}.o`);
  return { text: readFileSync(join(folder, `${name}.s`), "utf8"), object: readFileSync(join(folder, `${name}.o`)) };
}

/** What a relocation will overwrite is set aside. */
function shape(insn: Instruction, symbolic: boolean): string {
  const bare = symbolic ? { ...insn, imm: 0, high: 0, src: 0, meta: undefined } : { ...insn, meta: undefined };
  return printInstruction(bare);
}

withClang("what clang -S writes assembles to what clang -c writes", () => {
  let instructions = 0;
  let bytes = 0;
  for (const name of Object.keys(PROGRAMS)) {
    for (const args of [["-mcpu=v3"], ["-mcpu=v4"], ["-mcpu=v4", "-g"], ["-mcpu=v1", "-O1"]]) {
      const { text, object } = compile(name, ...args);
      const file = assembleFile(text, { link: false, allowUndefined: true });
      assert.is(file.style, "llvm");
      const elf = readElf(object);
      for (const section of file.sections) {
        const found = findSection(elf, section.name)!;
        const theirs = found.type === SectionType.nobits ? new Uint8Array(found.size) : sectionData(elf, found);
        const place = `${name} ${args.join(" ")} ${section.name}`;
        if (section.kind === "code") {
          const wanted = decode(theirs);
          const ours = file.instructions.slice(section.start, section.end);
          assert.is(ours.length, wanted.length, place);
          ours.forEach((insn, i) => {
            const symbolic = insn.meta?.reference !== undefined && (insn.opcode === LD_IMM64 || insn.opcode === 0x85);
            assert.is(shape(insn, symbolic), shape(wanted[i]!, symbolic), `${place} ${i}`);
          });
          instructions += ours.length;
        } else {
          const wanted = theirs.slice();
          for (const { offset, size } of section.relocations) wanted.fill(0, offset, offset + size);
          assert.is(toHex(section.bytes), toHex(wanted), place);
          bytes += wanted.length;
        }
      }
      assert.ok(file.functions.some((found) => found.binding === "global"));
    }
  }
  console.log(`\nNOTE clang agrees on ${instructions} instructions and ${bytes} bytes of data`);
});

test.run();
