import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildLibbpfPeer } from "../../bench/build-peer.ts";
import type { TypeId } from "../../src/btf/index.ts";
import { toHex } from "../../src/bytes/index.ts";
import { type KconfigExternSpec, parseObject } from "../../src/elf/index.ts";
import { BpfError } from "../../src/errors.ts";
import { fillKconfig, kernelVersionCode, parseKernelConfig } from "../../src/object/kconfig.ts";
import { FakeKernel, openBackend, type SyscallBackend } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, repository, requires, rounds } from "../support/harness.ts";

const test = suite("object/kconfig");
failOnLeaks(test);

const FILE = "externs.el.o";
const spec = parseObject(fixture(FILE));
const externs = Object.values(spec.externs).filter((each): each is KconfigExternSpec => each.kind === "kconfig");
const size = spec.maps[".kconfig"]!.valueSize;

const BASE: Readonly<Record<string, string>> = {
  CONFIG_BPF_SYSCALL: "y",
  CONFIG_BPF_JIT: "m",
  CONFIG_BPF: "y",
  CONFIG_HZ: "250",
  CONFIG_MISSING: "-3",
  CONFIG_DEFAULT_HOSTNAME: '"(none)"',
};

const VALUES = [
  "y", "n", "m", "Y", "0", "1", "2", "-1", "-2", "127", "128", "-128", "-129", "255", "256", "32767", "32768", "-32768",
  "-32769", "65535", "65536", "4294967295", "4294967296", "9223372036854775807", "9223372036854775808",
  "-9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "0x10", "0X1f", "-0x10",
  "010", "-010", "08", "0x", "+5", " 7", "7 ", "7x", "1.5", "", '""', '"a"', '"exactly twenty-three byt"', '"longer than the variable can hold"',
  '"unterminated', '"two"quotes"', "abc", "'c'", "yes", "-", "0b11", "0o17", "\t9", "1_000",
]; // biome-ignore format: a list of values

function textWith(name: string, value: string): string {
  return Object.entries({ ...BASE, [name]: value })
    .map(([key, text]) => `${key}=${text}\n`)
    .join("");
}

function ours(text: string, backend: SyscallBackend): string {
  const contents = new Uint8Array(size);
  try {
    fillKconfig(externs, contents, true, { text, backend, hasSymbol: () => false, read: () => undefined });
    return toHex(contents);
  } catch (error) {
    assert.instance(error, BpfError, String(error));
    return "error";
  }
}

requires(
  test,
  "bpf",
  "kernel-btf",
  "tool:libbpf-cc",
)("values are read as libbpf reads them", () => {
  const all: string[] = [];
  for (const name of Object.keys(BASE)) for (const value of VALUES) all.push(textWith(name, value));
  const whole = textWith("CONFIG_HZ", "100");
  all.push(
    `${whole}CONFIG_HZ=300\n`,
    `CONFIG_HZ=300\n${whole}`,
    `# CONFIG_HZ is not set\n${whole}`,
    `\n\n${whole}`,
    whole.trimEnd(),
    `CONFIG_HZ\n${whole}`,
    `CONFIG_OTHER\n${whole}`,
    `CONFIG_OTHER=\n${whole}`,
    `HZ=5\n${whole}`,
    ` CONFIG_HZ=5\n${whole}`,
    `CONFIG_HZ =5\n${whole}`,
    whole.replaceAll("\n", "\r\n"),
    whole.replace(/CONFIG_MISSING.*\n/, ""),
  );
  // libbpf reads the kernel's types anew for each text: a tenth of a second.
  const step = rounds(19, 1);
  const cases = all.filter((_, i) => i % step === 0);
  const peer = buildLibbpfPeer("test/object/libbpf-kconfig.c");
  const run = spawnSync(peer!.path, [join(repository, "test/fixtures", FILE)], {
    input: `${cases.join("\0")}\0`,
    encoding: "utf8",
  });
  assert.is(run.status, 0, run.stderr);
  const theirs = run.stdout.trim().split("\n");
  assert.is(theirs.length, cases.length);
  const backend = openBackend();
  const differences: string[] = [];
  for (const [i, text] of cases.entries()) {
    const wanted = theirs[i]!.startsWith("error") ? "error" : theirs[i]!;
    const found = ours(text, backend);
    if (found !== wanted) differences.push(`${JSON.stringify(text.slice(-400))}: libbpf ${theirs[i]}, rawbpf ${found}`);
  }
  console.log(
    `NOTE kernel configuration: libbpf agrees on ${cases.length - differences.length} of ${cases.length} texts`,
  );
  assert.equal(differences, []);
});

function fill(
  list: readonly KconfigExternSpec[],
  text: string,
  more: { hasSymbol?: boolean; read?: () => string | undefined } = {},
): Uint8Array {
  const contents = new Uint8Array(Math.max(...list.map((each) => each.offset + each.size)));
  const { backend } = new FakeKernel();
  const hasSymbol = (name: string): boolean => more.hasSymbol === true && name === "__x64_sys_bpf";
  fillKconfig(list, contents, true, { text, backend, hasSymbol, read: more.read ?? (() => undefined) });
  return contents;
}

function extern(
  name: string,
  value: KconfigExternSpec["value"],
  bytes: number,
  more: Partial<KconfigExternSpec> = {},
): KconfigExternSpec {
  return {
    kind: "kconfig",
    name,
    weak: false,
    type: 1 as TypeId,
    value,
    signed: false,
    offset: 0,
    size: bytes,
    ...more,
  };
}

test("values of the loader's own", () => {
  const version = new DataView(fill([extern("LINUX_KERNEL_VERSION", "integer", 4)], "").buffer).getUint32(0, true);
  assert.is(version, kernelVersionCode());
  assert.ok(version > 5 << 16, String(version));
  // The fake kernel accepts every program, so it has the helper.
  for (const value of ["bool", "integer"] as const) {
    assert.equal(fill([extern("LINUX_HAS_BPF_COOKIE", value, 1)], ""), Uint8Array.of(1), value);
    assert.equal(fill([extern("LINUX_HAS_SYSCALL_WRAPPER", value, 1)], "", { hasSymbol: true }), Uint8Array.of(1));
    assert.equal(fill([extern("LINUX_HAS_SYSCALL_WRAPPER", value, 1)], ""), Uint8Array.of(0));
  }
  assert.throws(
    () => fill([extern("LINUX_OTHER", "bool", 1)], ""),
    /^"LINUX_OTHER" is neither CONFIG_\.\.\. nor a value that the loader knows/,
  );
  assert.equal(fill([extern("LINUX_OTHER", "bool", 1, { weak: true })], ""), Uint8Array.of(0));
});

test("what is missing is an error that says where it was looked for, and 0 when it is weak", () => {
  const list = [extern("CONFIG_NONE", "integer", 4)];
  assert.throws(() => fill(list, ""), /^Kernel configuration has no CONFIG_NONE\nHint: Neither \/proc\/config\.gz nor/);
  assert.throws(() => fill(list, "", { read: () => "CONFIG_OTHER=y" }), /\nHint: Declare it __weak/);
  assert.equal(fill([extern("CONFIG_NONE", "integer", 4, { weak: true })], ""), new Uint8Array(4));
});

test("the text that is given goes before the kernel's", () => {
  const list = [extern("CONFIG_HZ", "integer", 2), extern("CONFIG_B", "integer", 2, { offset: 2 })];
  const bytes = fill(list, "CONFIG_HZ=5", { read: () => "CONFIG_HZ=6\nCONFIG_B=7\n" });
  assert.equal(bytes, Uint8Array.of(5, 0, 7, 0));
  // What is given in full leaves the kernel's unread.
  fill(list, "CONFIG_HZ=5\nCONFIG_B=1", {
    read: () => {
      throw new Error("read");
    },
  });
});

test("errors say what does not fit", () => {
  assert.throws(
    () => fill([extern("CONFIG_A", "integer", 1)], "CONFIG_A=256"),
    /CONFIG_A=256 does not fit its variable: it does not fit an unsigned integer of 1 bytes/,
  );
  assert.throws(
    () => fill([extern("CONFIG_A", "bool", 1)], "CONFIG_A=m"),
    /CONFIG_A=m does not fit its variable: it needs a tristate or char/,
  );
  assert.throws(() => fill([extern("CONFIG_A", "bool", 1)], "CONFIG_A"), /has a line without a value: "CONFIG_A"/);
});

test("numbers stand in the byte order of the object", () => {
  const contents = new Uint8Array(4);
  const { backend } = new FakeKernel();
  fillKconfig([extern("CONFIG_A", "integer", 4)], contents, false, {
    text: "CONFIG_A=0x102",
    backend,
    hasSymbol: () => false,
  });
  assert.equal(contents, Uint8Array.of(0, 0, 1, 2));
  assert.equal(
    [...parseKernelConfig("CONFIG_A=1\nCONFIG_A=2\n#CONFIG_B=3", new Set(["CONFIG_A", "CONFIG_B"]))],
    [["CONFIG_A", "1"]],
  );
});

test.run();
