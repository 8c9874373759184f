import { spawnSync } from "node:child_process";
import { constants } from "node:os";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, program, r0 } from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";
import { createMap } from "../../src/maps/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import {
  adapters,
  type BackendName,
  errnoName,
  errnoNumber,
  FakeKernel,
  Fd,
  isErrno,
  openBackend,
  parseCpuList,
  requiredCapabilities,
  SyscallError,
} from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";

const test = suite("syscall errors");
failOnLeaks(test);

requires(test, "linux")("errno names agree with the system's own", () => {
  let agree = 0;
  for (const [name, number] of Object.entries(constants.errno)) {
    // EAGAIN and EOPNOTSUPP have second names.
    if (name === "EWOULDBLOCK" || name === "ENOTSUP") continue;
    assert.is(errnoName(number), name);
    assert.is(errnoNumber(name), number);
    agree++;
  }
  console.log(`NOTE ${agree} errno names agree with the system's`);
  assert.ok(agree > 70);
});

test("errno 524 is ENOTSUPP, unknown numbers have a name of their own", () => {
  assert.is(errnoName(-524), "ENOTSUPP");
  assert.is(errnoNumber("ENOTSUPP"), 524);
  assert.is(errnoName(4000), "E4000");
  assert.throws(() => errnoNumber("ENONSENSE"), /"ENONSENSE" is no errno name/);
});

test("a SyscallError is in Node's style", () => {
  const error = new SyscallError("Cannot do it", "bpf", 1, { command: "BPF_PROG_LOAD", hint: "ask root" });
  assert.is(error.code, "EPERM");
  assert.is(error.errno, -1);
  assert.is(error.syscall, "bpf");
  assert.is(error.command, "BPF_PROG_LOAD");
  assert.is(error.hint, "ask root");
  assert.is(error.message, "Cannot do it: EPERM, operation not permitted\nHint: ask root");
  assert.is(error.name, "SyscallError");
  assert.instance(error, BpfError);
  assert.ok(isErrno(error, "ENOENT", "EPERM"));
  assert.not(isErrno(error, "ENOENT"));
  assert.not(isErrno(new Error("EPERM"), "EPERM"));
});

const NEEDS: readonly [string, object, string[]][] = [
  ["perf_event_open", {}, ["CAP_PERFMON"]],
  ["bpf", { command: "BPF_MAP_CREATE" }, ["CAP_BPF"]],
  ["bpf", { command: "BPF_MAP_CREATE", mapType: "devmap" }, ["CAP_BPF", "CAP_NET_ADMIN"]],
  ["bpf", { command: "BPF_PROG_LOAD", progType: "socket_filter" }, ["CAP_BPF"]],
  ["bpf", { command: "BPF_PROG_LOAD", progType: "kprobe" }, ["CAP_BPF", "CAP_PERFMON"]],
  ["bpf", { command: "BPF_PROG_LOAD", progType: "xdp" }, ["CAP_BPF", "CAP_NET_ADMIN"]],
  ["bpf", { command: "BPF_MAP_GET_FD_BY_ID" }, ["CAP_SYS_ADMIN"]],
  ["bpf", { command: "BPF_PROG_GET_NEXT_ID" }, ["CAP_SYS_ADMIN"]],
  ["close", {}, []],
]; // biome-ignore format: table

for (const [syscall, needs, wanted] of NEEDS) {
  test(`${syscall} ${JSON.stringify(needs)} needs ${wanted.join(" and ") || "nothing"}`, () => {
    assert.equal(requiredCapabilities(syscall, needs), wanted);
  });
}

requires(
  test,
  "root",
  "bpf",
  "tool:setpriv",
)("without capabilities an error names the one that is missing", () => {
  // The same calls as a user without any, with CAP_BPF, and with CAP_BPF and CAP_PERFMON.
  const script = `
    import { createMap } from "${new URL("../../src/maps/index.js", import.meta.url)}";
    import { loadProgram } from "${new URL("../../src/programs/index.js", import.meta.url)}";
    import { openBackend, perfEventOpen } from "${new URL("../../src/syscall/index.js", import.meta.url)}";
    import { program, mov, exit, r0 } from "${new URL("../../src/asm/index.js", import.meta.url)}";
    const say = (run) => { try { run().close(); console.log("ok"); } catch (e) { console.log(e.code, "/", e.hint); } };
    const load = (type) => loadProgram({ type, instructions: program(mov(r0, 0), exit()), license: "GPL" });
    say(() => createMap({ type: "array", key: 4, value: 4, maxEntries: 1 }));
    say(() => load("kprobe"));
    say(() => load("xdp"));
    say(() => perfEventOpen(openBackend(), { attr: { type: 1, config: 9 }, cpu: 0 }));
  `;
  const run = (caps: string): string[] =>
    spawnSync(
      "setpriv",
      [`--bounding-set=${caps}`, `--inh-caps=${caps}`, process.execPath, "--input-type=module", "-e", script],
      { encoding: "utf8" },
    ).stdout.split("\n");
  assert.equal(run("-all"), [
    "EPERM / needs CAP_BPF; run as root or grant CAP_BPF",
    "EPERM / needs CAP_BPF and CAP_PERFMON; run as root or grant CAP_BPF,CAP_PERFMON",
    "EPERM / needs CAP_BPF and CAP_NET_ADMIN; run as root or grant CAP_BPF,CAP_NET_ADMIN",
    "EACCES / needs CAP_PERFMON; run as root or grant CAP_PERFMON",
    "",
  ]);
  assert.equal(run("-all,+bpf"), [
    "ok",
    "EPERM / needs CAP_PERFMON; run as root or grant CAP_PERFMON",
    "EPERM / needs CAP_NET_ADMIN; run as root or grant CAP_NET_ADMIN",
    "EACCES / needs CAP_PERFMON; run as root or grant CAP_PERFMON",
    "",
  ]);
  assert.equal(run("-all,+bpf,+perfmon").slice(0, 2), ["ok", "ok"]);
});

requires(
  test,
  "root",
  "bpf",
)("a program type that the kernel refuses to everybody is not blamed on capabilities", () => {
  try {
    loadProgram({ type: "lsm", instructions: program(mov(r0, 0), exit()), license: "GPL", name: "l" }).close();
  } catch (error) {
    assert.not.match((error as Error).message, /CAP_|MEMLOCK/);
  }
});

test("a failing step leaves no descriptor behind", () => {
  const kernel = new FakeKernel().on("BPF_MAP_CREATE", () => "ENOMEM");
  assert.throws(
    () => createMap({ type: "hash", key: 4, value: 4, maxEntries: 1 }, { backend: kernel.backend }),
    /ENOMEM/,
  );
  assert.equal(kernel.open, []);
});

test("Fd: close is idempotent, use after close is an error, using closes", () => {
  const kernel = new FakeKernel();
  const open = (): number => kernel.backend.syscall(298);
  const fd = new Fd(kernel.backend, open(), "thing");
  const copy = fd.duplicate();
  assert.is.not(copy.number, fd.number);
  fd.close();
  fd.close();
  assert.is(fd.closed, true);
  assert.throws(() => fd.number, /Cannot use thing: it is closed/);
  assert.throws(() => fd.duplicate(), /Cannot use thing: it is closed/);
  {
    using owned = new Fd(kernel.backend, open());
    assert.ok(owned.number > 2);
  }
  copy.close();
  assert.equal(kernel.open, []);
});

requires(
  test,
  "bpf",
  "koffi",
)("descriptors are close-on-exec and never among the standard streams", () => {
  const script = `
    import { closeSync, readFileSync } from "node:fs";
    import { createMap } from "${new URL("../../src/maps/index.js", import.meta.url)}";
    closeSync(0);
    const map = createMap({ type: "array", key: 4, value: 4, maxEntries: 1 });
    const flags = parseInt(/flags:\\s*(\\d+)/.exec(readFileSync("/proc/self/fdinfo/" + map.fd, "utf8"))[1], 8);
    console.log(map.fd > 2, (flags & 0o2000000) !== 0);
  `;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  assert.is(child.stdout, "true true\n", child.stderr);
});

test("an unknown adapter is named, with those that exist", () => {
  try {
    openBackend("libffi" as BackendName);
    assert.unreachable();
  } catch (error) {
    assert.is((error as BpfError).code, "ERR_NO_FFI");
    assert.match((error as Error).message, /There is no FFI adapter "libffi"\nHint: the adapters are koffi/);
  }
});

test("RAWBPF_FFI chooses the adapter", () => {
  const script = `
    import { openBackend } from "${new URL("../../src/syscall/index.js", import.meta.url)}";
    try { console.log(openBackend().name); } catch (e) { console.log(e.code, e.message.split("\\n")[0]); }
  `;
  const run = (value: string): string =>
    spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
      env: { ...process.env, RAWBPF_FFI: value },
    }).stdout.trim();
  assert.is(run("nonsense"), 'ERR_NO_FFI There is no FFI adapter "nonsense"');
  assert.match(run("bun:ffi"), /^ERR_NO_FFI Cannot use the FFI adapter bun:ffi: it needs Bun/);
  if (adapters.find((adapter) => adapter.name === "koffi")?.unavailable() === undefined)
    assert.is(run("koffi"), "koffi");
});

const LISTS: readonly [string, readonly number[]][] = [
  ["0", [0]],
  ["0-3", [0, 1, 2, 3]],
  ["0,2-3\n", [0, 2, 3]],
  ["1,5,7-8", [1, 5, 7, 8]],
];
for (const [text, ids] of LISTS) test(`CPU list ${JSON.stringify(text)}`, () => assert.equal(parseCpuList(text), ids));
for (const text of ["", "a", "3-1", "1,,2", "0-99999999"]) {
  test(`no CPU list: ${JSON.stringify(text)}`, () => assert.throws(() => parseCpuList(text), /is no CPU list/));
}

test.run();
