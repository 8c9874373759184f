import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createMap, u32 } from "../../src/maps/index.ts";
import { FakeKernel, formatSyscall, type SyscallTrace, traceSyscalls } from "../../src/syscall/index.ts";
import { failOnLeaks } from "../support/harness.ts";

const test = suite("tracing");
failOnLeaks(test);

const base = { command: undefined, arguments: {}, result: 0, error: undefined, nanoseconds: 1500 };
const LINES: readonly [SyscallTrace, string][] = [
  [{ ...base, syscall: "close", arguments: { fd: 3 } }, "close(fd=3) = 0 <0.000002>"],
  [{ ...base, syscall: "close", arguments: { fd: 0 }, result: -9, error: "EBADF" }, "close(fd=0) = -1 EBADF <0.000002>"],
  [{ ...base, syscall: "mmap", arguments: { length: 4096, prot: "PROT_READ|PROT_WRITE" }, result: 0x7f00_0000_1000 }, "mmap(length=4096, prot=PROT_READ|PROT_WRITE) = 0x7f0000001000 <0.000002>"],
  [{ ...base, syscall: "bpf", command: "BPF_MAP_CREATE", arguments: { map_type: "ringbuf", key_size: 0, max_entries: 4096, map_name: "a.B" }, result: 4 }, 'bpf(BPF_MAP_CREATE, {map_type=ringbuf, max_entries=4096, map_name="a.B"}) = 4 <0.000002>'],
  [{ ...base, syscall: "bpf", command: "BPF_MAP_LOOKUP_ELEM", arguments: { key: Uint8Array.of(1, 255), flags: 0n }, result: -2, error: "ENOENT" }, 'bpf(BPF_MAP_LOOKUP_ELEM, {key="\\x01\\xff"}) = -1 ENOENT <0.000002>'],
  [{ ...base, syscall: "x", arguments: { list: [1, 2], nested: { a: 0, b: 5 }, long: new Uint8Array(40) } }, `x(list=[1, 2], nested={b=5}, long="${"\\x00".repeat(32)}"... (40 bytes)) = 0 <0.000002>`],
]; // biome-ignore format: table

for (const [call, line] of LINES) {
  test(`prints ${line.slice(0, 40)}`, () => assert.is(formatSyscall(call), line));
}

test("zeros and duration are options", () => {
  const call = { ...base, syscall: "bpf", command: "BPF_MAP_FREEZE", arguments: { map_fd: 0 } };
  assert.is(formatSyscall(call, { zeros: true, duration: false }), "bpf(BPF_MAP_FREEZE, {map_fd=0}) = 0");
});

test("a listener may make calls of its own: they are not traced", () => {
  const { backend } = new FakeKernel();
  using map = createMap({ type: "array", key: u32, value: u32, maxEntries: 1 }, { backend });
  let calls = 0;
  {
    using _tracer = traceSyscalls(() => {
      calls++;
      map.get(0);
    });
    map.get(0);
  }
  assert.is(calls, 1);
});

test("several listeners, and the end of a trace", () => {
  const { backend } = new FakeKernel();
  using map = createMap({ type: "array", key: u32, value: u32, maxEntries: 1 }, { backend });
  const seen: string[] = [];
  const first = traceSyscalls(() => seen.push("a"));
  const second = traceSyscalls(() => seen.push("b"));
  map.get(0);
  first.stop();
  first.stop();
  map.get(0);
  second.stop();
  map.get(0);
  assert.equal(seen, ["a", "b", "b"]);
});

test("a listener that throws disturbs no call, and is reported", async () => {
  const kernel = new FakeKernel();
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  const caught = new Promise<Error>((resolve) => process.once("uncaughtException", resolve));
  const tracer = traceSyscalls(() => {
    throw new Error("mine");
  });
  const map = createMap({ type: "array", key: u32, value: u32, maxEntries: 1 }, { backend: kernel.backend });
  tracer.stop();
  map.close();
  assert.is((await caught).message, "mine");
  for (const listener of listeners) process.on("uncaughtException", listener);
  assert.equal(kernel.open, []);
});

test.run();
