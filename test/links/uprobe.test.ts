import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assemble, exit, mov, r0 } from "../../src/asm/index.ts";
import { type BpfError, NotSupportedError } from "../../src/errors.ts";
import { linkCreateAttr } from "../../src/kernel-abi/index.ts";
import { attachUprobe, attachUprobeMulti } from "../../src/links/index.ts";
import { type BpfMap, createMap, u64 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { findBinary, openBinary } from "../../src/symbols/index.ts";
import { FakeKernel, type SyscallTrace, type Tracefs, traceSyscalls } from "../../src/syscall/index.ts";
import { failOnLeaks, requires, toolPath } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";

const test = suite("uprobe links");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

const compiled = requires(test, "bpf", "sys-admin", "koffi", "tool:gcc");

/** A program that nobody else runs: it calls `work` as often as it is told. */
function compileWorker(): { readonly path: string } & Disposable {
  const directory = mkdtempSync(join(tmpdir(), "rawbpf-worker-"));
  const path = join(directory, "worker");
  const source =
    '#include <stdlib.h>\n__attribute__((noinline)) int work(int n) { __asm__ volatile(""); return n + 1; }\n' +
    "int main(int c, char **v) { int n = atoi(v[1]), s = 0; while (n-- > 0) s += work(n); return s < 0; }\n";
  const built = spawnSync(toolPath("gcc")!, ["-O1", "-x", "c", "-", "-o", path], { input: source, encoding: "utf8" });
  assert.is(built.status, 0, built.stderr);
  return { path, [Symbol.dispose]: () => rmSync(directory, { recursive: true }) };
}

const libc = findBinary("c");
const libcExit = openBinary(libc).functionOffset("exit");

type Multi = "trace_uprobe_multi" | "trace_uprobe_session";

function load(map: BpfMap<number, bigint>, expectedAttachType?: Multi): Program {
  return loadProgram({
    type: "kprobe",
    expectedAttachType,
    instructions: counting(map),
    license: "GPL",
    name: "counter",
  });
}

kernel("a function of a library runs a program, at its entry and at its return", () => {
  using map = counter();
  using program = load(map);
  {
    using link = attachUprobe(program, "c", "exit", { cookie: 12n });
    const info = link.info();
    assert.ok(info.type === "perf_event" && info.target.kind === "uprobe");
    assert.is(info.target.offset, libcExit);
    assert.is(info.target.cookie, 12n);
    assert.ok(libc.endsWith(info.target.path) || info.target.path.endsWith("libc.so.6"));
    for (let i = 0; i < 3; i++) spawnSync("true");
    assert.ok(map.get(0)! >= 3n, `counted ${map.get(0)}`);
  }
  const counted = map.get(0)!;
  spawnSync("true");
  assert.is(map.get(0), counted);
  // `malloc` returns, `exit` does not.
  using _back = attachUprobe(program, "c", "malloc", { return: true });
  spawnSync("true");
  assert.ok(map.get(0)! > counted);
});

kernel("a place is a function, a function and bytes, or an offset in the file", () => {
  using map = counter();
  using program = load(map);
  for (const place of ["exit", "exit+0x0", "exit+0", libcExit]) {
    const before = map.get(0)!;
    using _link = attachUprobe(program, libc, place);
    spawnSync("true");
    assert.ok(map.get(0)! > before, String(place));
  }
});

kernel("only the process that is named", () => {
  using map = counter();
  using program = load(map);
  using _link = attachUprobe(program, libc, "exit", { pid: process.pid });
  spawnSync("true");
  assert.is(map.get(0), 0n);
});

kernel("kernels without the unit have the probe in tracefs", () => {
  using map = counter();
  using program = load(map);
  {
    using _link = attachUprobe(program, libc, "exit", { mode: "tracefs" });
    spawnSync("true");
    assert.ok(map.get(0)! >= 1n);
  }
  const counted = map.get(0)!;
  spawnSync("true");
  assert.is(map.get(0), counted);
});

kernel("many functions by one link, with a value for each", () => {
  using seen = createMap({ type: "hash", key: u64, value: u64, maxEntries: 64 });
  using program = loadProgram({
    type: "kprobe",
    expectedAttachType: "trace_uprobe_multi",
    instructions: assemble(
      `
      call get_attach_cookie
      *(u64 *)(r10 - 8) = r0
      *(u64 *)(r10 - 16) = 1
      r1 = seen ll
      r2 = r10
      r2 += -8
      r3 = r10
      r3 += -16
      r4 = 0
      call map_update_elem
      r0 = 0
      exit
      `,
      { maps: { seen } },
    ),
    license: "GPL",
    name: "cookies",
  });
  using link = attachUprobeMulti(program, "c", { places: ["malloc", "exit"], cookies: [100n, 2n ** 63n] });
  spawnSync("true");
  assert.equal([...seen.keys()].sort(), [100n, 2n ** 63n]);
  const info = link.info();
  assert.ok(info.type === "uprobe_multi");
  assert.is(info.count, 2);
  const binary = openBinary(libc);
  assert.equal(
    [...info.offsets].sort(),
    [binary.functionOffset("malloc"), binary.functionOffset("exit")].map(BigInt).sort(),
  );
  assert.equal([...info.cookies].sort(), [100n, 2n ** 63n]);
});

kernel("functions by a pattern, and sessions that see entry and return", () => {
  using map = counter();
  {
    using program = load(map, "trace_uprobe_multi");
    using link = attachUprobeMulti(program, "c", { pattern: "exi?" });
    const info = link.info();
    assert.ok(info.type === "uprobe_multi" && info.count >= 1);
    spawnSync("true");
    assert.ok(map.get(0)! >= 1n);
    assert.throws(() => attachUprobeMulti(program, "c", { pattern: "no_such_*" }), /No function of .* matches/);
  }
});

compiled("a session sees entry and return of each call", () => {
  using worker = compileWorker();
  using map = counter();
  const counted = (expectedAttachType: Multi, isReturn: boolean): bigint => {
    map.set(0, 0n);
    using program = load(map, expectedAttachType);
    using _link = attachUprobeMulti(program, worker.path, { places: ["work"], return: isReturn });
    assert.is(spawnSync(worker.path, ["7"]).status, 0);
    return map.get(0)!;
  };
  assert.is(counted("trace_uprobe_multi", false), 7n);
  assert.is(counted("trace_uprobe_multi", true), 7n);
  assert.is(counted("trace_uprobe_session", false), 14n);
});

kernel("what is not there is named, and nothing stays open", () => {
  using map = counter();
  using program = load(map);
  const fails = (run: () => unknown, code: string, text: RegExp): void => {
    assert.throws(run, (error: BpfError) => error.code === code && text.test(error.message));
  };
  fails(() => attachUprobe(program, "no-such-program", "main"), "ERR_FILE_NOT_FOUND", /no-such-program/);
  fails(() => attachUprobe(program, "c", "mallocc"), "ERR_SYMBOL_NOT_FOUND", /did you mean \S*malloc/);
  fails(() => attachUprobe(program, libc, 3), "ERR_ATTACH_TARGET", /There is no code at offset 0x3/);
  fails(() => attachUprobe(program, libc, "exit", { pid: 0x3ffffff0 }), "ERR_FILE_NOT_FOUND", /./);
  using xdp = loadProgram({ type: "xdp", instructions: [mov(r0, 0), exit()] });
  fails(() => attachUprobe(xdp, libc, "exit"), "ERR_TYPE_MISMATCH", /xdp/);
  assert.throws(() => attachUprobe(program, libc, -1), RangeError);
});

/** A folder with the files that units and tracefs have. */
function folder(files: { readonly [path: string]: string }): { readonly path: string } & Tracefs {
  const path = mkdtempSync(join(tmpdir(), "rawbpf-uprobe-"));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(path, name, ".."), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  const close = (): void => rmSync(path, { recursive: true });
  return { path, detached: false, close, [Symbol.dispose]: close };
}

test("a probe is an event of the kernel's unit for them", () => {
  using units = folder({ "uprobe/type": "9\n", "uprobe/format/retprobe": "config:0\n" });
  const { backend } = new FakeKernel();
  using program = loadProgram({ type: "kprobe", instructions: [mov(r0, 0), exit()], name: "p" }, { backend });
  const attr = (options: Parameters<typeof attachUprobe>[3]): unknown => {
    const calls: SyscallTrace[] = [];
    using _tracer = traceSyscalls((one) => calls.push(one));
    attachUprobe(program, libc, libcExit, { ...options, eventSources: units.path }).close();
    const { attr: given, pid, cpu } = calls.find((one) => one.syscall === "perf_event_open")!.arguments;
    return { ...(given as object), pid, cpu: cpu === -1 ? -1 : 0 };
  };
  const common = { type: 9, uprobe_path: libc, probe_offset: libcExit, size: 144 };
  assert.equal(attr({}), { ...common, config: 0n, pid: -1, cpu: 0 });
  assert.equal(attr({ return: true }), { ...common, config: 1n, pid: -1, cpu: 0 });
  assert.equal(attr({ referenceCounterOffset: 0x89abcdef }), {
    ...common,
    config: 0x89abcdef00000000n,
    pid: -1,
    cpu: 0,
  });
  assert.throws(() => attr({ referenceCounterOffset: 2 ** 32 }), RangeError);
});

test("a kernel without uprobes says so", () => {
  using units = folder({});
  using tracefs = folder({ README: "" });
  const { backend } = new FakeKernel();
  using program = loadProgram({ type: "kprobe", instructions: [mov(r0, 0), exit()], name: "p" }, { backend });
  assert.throws(
    () => attachUprobe(program, libc, "exit", { eventSources: units.path, tracefs }),
    (error: unknown) => error instanceof NotSupportedError && /CONFIG_UPROBE_EVENTS/.test(error.message),
  );
  assert.not.ok(readFileSync(join(tracefs.path, "README"), "utf8").length);
});

test("the places of a link reach the kernel as it wants them", () => {
  let seen: unknown;
  const fake = new FakeKernel().on("BPF_LINK_CREATE", (request) => {
    const count = request.get(linkCreateAttr, "uprobe_multi.cnt");
    const words = (field: string): bigint[] => [
      ...new BigUint64Array(request.memory(linkCreateAttr, field, count * 8).slice().buffer),
    ];
    seen = {
      attachType: request.get(linkCreateAttr, "attach_type"),
      path: request.text(linkCreateAttr, "uprobe_multi.path"),
      offsets: words("uprobe_multi.offsets"),
      counters: words("uprobe_multi.ref_ctr_offsets"),
      cookies: words("uprobe_multi.cookies"),
      flags: request.get(linkCreateAttr, "uprobe_multi.flags"),
      pid: request.get(linkCreateAttr, "uprobe_multi.pid"),
    };
    return undefined;
  });
  const { backend } = fake;
  using program = loadProgram(
    { type: "kprobe", expectedAttachType: "trace_uprobe_session", instructions: [mov(r0, 0), exit()], name: "p" },
    { backend },
  );
  const places = [libcExit, libcExit + 1];
  const pid = process.pid;
  attachUprobeMulti(program, libc, {
    places,
    cookies: [5n, 6n],
    referenceCounterOffsets: [0, 8],
    return: true,
  }).close();
  assert.equal(seen, {
    attachType: 57,
    path: libc,
    offsets: places.map(BigInt),
    counters: [0n, 8n],
    cookies: [5n, 6n],
    flags: 1,
    pid: 0,
  });
  attachUprobeMulti(program, libc, { places, pid }).close();
  assert.is((seen as { pid: number }).pid, pid);
  for (const options of [{}, { places, pattern: "x" }, { pattern: "exit", cookies: [1n] }]) {
    assert.throws(() => attachUprobeMulti(program, libc, options), TypeError);
  }
  assert.throws(() => attachUprobeMulti(program, libc, { places, cookies: [1n] }), RangeError);
  assert.throws(() => attachUprobeMulti(program, libc, { places: [] }), RangeError);
});

test.run();
