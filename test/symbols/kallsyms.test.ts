import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findKernelSymbols, readKernelSymbols } from "../../src/symbols/index.ts";
import { cpuTime, requires } from "../support/harness.ts";

const test = suite("symbols/kallsyms");
const list = (text: string) => () => new TextEncoder().encode(text);

const small = `ffffffff81000000 T _stext
ffffffff81000000 T first
ffffffff81000100 t twin
ffffffff81000200 t twin
ffffffff81000300 D data
ffffffffc0000000 t helper\t[nf_nat]
ffffffffc0000040 t bpf_prog_6deef7357e7b4530_one\t[bpf]
`;

test("names, addresses, modules", () => {
  const kernel = readKernelSymbols(list(small));
  assert.is(kernel.count, 7);
  assert.is(kernel.hidden, false);
  assert.equal(kernel.addresses("twin"), [0xffffffff81000100n, 0xffffffff81000200n]);
  assert.equal(kernel.addresses("nothing"), []);
  assert.equal(kernel.addresses("helper", "nf_nat"), [0xffffffffc0000000n]);
  assert.equal(kernel.addresses("helper", "other"), []);
  assert.equal(kernel.find("data"), [{ name: "data", address: 0xffffffff81000300n, type: "D", module: undefined }]);
  assert.equal(kernel.resolve(0xffffffff81000000n), { name: "_stext", offset: 0, module: undefined });
  assert.equal(kernel.resolve(0xffffffff810001ffn), { name: "twin", offset: 0xff, module: undefined });
  assert.equal(kernel.resolve(0xffffffffc0000044n), {
    name: "bpf_prog_6deef7357e7b4530_one",
    offset: 4,
    module: "bpf",
  });
  assert.is(kernel.resolve(0xffffffff80ffffffn), undefined);
  assert.is(kernel.resolve(0xffffffffffffffffn), undefined);
  assert.is(kernel.resolve(0n), undefined);
  assert.equal(
    kernel.functions("*i*").map((each) => each.name),
    ["first", "twin", "twin"],
  );
});

test("hidden addresses are an error, names are not", () => {
  const kernel = readKernelSymbols(list("0000000000000000 T a\n0000000000000000 t b\t[m]\n"));
  assert.is(kernel.hidden, true);
  assert.is(kernel.find("b")[0]?.module, "m");
  assert.throws(
    () => kernel.addresses("a"),
    /hides the addresses of its symbols.*\nHint: needs kernel.kptr_restrict 0/,
  );
  assert.throws(
    () => kernel.resolve(1n),
    (error: { code: string }) => error.code === "ERR_SYMBOLS_HIDDEN",
  );
});

test("lines of other forms are passed over", () => {
  for (const text of ["", "\n\n", "zz T a\n", "1 T\n", "1 T \n", "11111111111111111 T long\n", "1"]) {
    assert.is(readKernelSymbols(list(text)).count, 0, JSON.stringify(text));
  }
  assert.is(readKernelSymbols(list("1 T a")).find("a")[0]?.address, 1n);
  assert.is(readKernelSymbols(list("1 T a\t[")).find("a")[0]?.module, undefined);
});

test("static variables that clang has renamed", () => {
  const found = findKernelSymbols(new Set(["v"]), list("10 d v.llvm.123\n20 D w\n"));
  assert.equal(found.get("v"), { address: 0x10n, others: [] });
});

requires(test, "linux")("this kernel's list", () => {
  const bytes = new Uint8Array(readFileSync("/proc/kallsyms"));
  const started = cpuTime();
  const kernel = readKernelSymbols(() => bytes);
  const took = cpuTime() - started;
  const lines = new TextDecoder().decode(bytes).trimEnd().split("\n");
  assert.is(kernel.count, lines.length);
  let agree = 0;
  for (const line of lines.filter((_, i) => i % 97 === 0)) {
    const [address, type, name, module] = line.split(/\s/);
    const found = kernel.find(name!);
    const same = found.some((each) => each.address === BigInt(`0x${address}`) && each.type === type);
    assert.ok(same, line);
    assert.ok(
      found.some((each) => each.module === module?.slice(1, -1)),
      line,
    );
    agree++;
    if (kernel.hidden || !/^[tTwW]$/.test(type!)) continue;
    const place = kernel.resolve(BigInt(`0x${address}`));
    assert.is(place?.offset, 0);
  }
  console.log(`NOTE ${kernel.count} symbols read in ${took.toFixed(0)} ms of processor time, ${agree} of them checked`);
});

test.run();
