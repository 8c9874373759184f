import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, program, r0 } from "../../src/asm/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { perfEventAttr } from "../../src/kernel-abi/index.ts";
import { attachRawTracepoint, attachTracepoint } from "../../src/links/index.ts";
import type { BpfMap } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import {
  FakeKernel,
  onlineCpus,
  type SyscallError,
  type SyscallTrace,
  type Tracefs,
  traceSyscalls,
} from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";

const test = suite("tracepoint links");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

function load(type: "tracepoint" | "raw_tracepoint", map: BpfMap<number, bigint>): Program {
  return loadProgram({ type, instructions: counting(map), license: "GPL", name: "counter" });
}

kernel("a tracepoint program runs while it is attached, and no longer", () => {
  using map = counter();
  using loaded = load("tracepoint", map);
  {
    using link = attachTracepoint(loaded, "sched", "sched_process_exec");
    assert.is(link.target, "tracepoint sched:sched_process_exec");
    for (let i = 0; i < 3; i++) spawnSync("true");
    assert.ok(map.get(0)! >= 3n, `counted ${map.get(0)}`);
  }
  const after = map.get(0);
  spawnSync("true");
  assert.is(map.get(0), after);
});

kernel("a link keeps its program alive when the program's handle is closed", () => {
  using map = counter();
  const loaded = load("tracepoint", map);
  using _link = attachTracepoint(loaded, "sched", "sched_process_exec");
  loaded.close();
  spawnSync("true");
  assert.ok(map.get(0)! >= 1n);
});

kernel("a raw tracepoint program runs", () => {
  using map = counter();
  using loaded = load("raw_tracepoint", map);
  {
    using _link = attachRawTracepoint(loaded, "sched_process_exec");
    spawnSync("true");
  }
  assert.ok(map.get(0)! >= 1n);
});

kernel("unknown tracepoints are clear errors, and nothing stays open", () => {
  using map = counter();
  using loaded = load("tracepoint", map);
  assert.throws(() => attachTracepoint(loaded, "sched", "nonsense_event"), /This kernel has no tracepoint/);
  using raw = load("raw_tracepoint", map);
  assert.throws(
    () => attachRawTracepoint(raw, "no_such_tracepoint"),
    (error: SyscallError) =>
      error.code === "ENOENT" &&
      error.message.startsWith('Cannot attach program "counter" to raw tracepoint no_such_tracepoint: ENOENT'),
  );
});

test("a program of another type is refused before any call", () => {
  const fake = new FakeKernel();
  const { backend } = fake;
  const loaded = loadProgram({ type: "xdp", instructions: program(mov(r0, 0), exit()), name: "x" }, { backend });
  for (const attach of [() => attachTracepoint(loaded, "a", "b"), () => attachRawTracepoint(loaded, "b")]) {
    try {
      attach();
      assert.unreachable();
    } catch (error) {
      assert.is((error as BpfError).code, "ERR_TYPE_MISMATCH");
      assert.match((error as BpfError).message, /^Cannot attach program "x" to .*: it is a xdp program, wanted /);
    }
  }
  loaded.close();
  assert.equal(fake.open, []);
});

/** A folder that looks like tracefs, with one tracepoint of id 77. */
function madeUpTracefs(): Tracefs {
  const path = mkdtempSync(join(tmpdir(), "rawbpf-tracefs-"));
  mkdirSync(join(path, "events/g/n"), { recursive: true });
  writeFileSync(join(path, "events/g/n/format"), "name: n\nID: 77\nformat:\n");
  const close = (): void => rmSync(path, { recursive: true });
  return { path, detached: false, close, [Symbol.dispose]: close };
}

function attachOnFake(kernel: FakeKernel, cookie?: bigint): SyscallTrace[] {
  using tracefs = madeUpTracefs();
  const { backend } = kernel;
  using loaded = loadProgram({ type: "tracepoint", instructions: program(mov(r0, 0), exit()), name: "p" }, { backend });
  const calls: SyscallTrace[] = [];
  using _tracer = traceSyscalls((traced) => calls.push(traced));
  attachTracepoint(loaded, "g", "n", { tracefs, cookie }).close();
  return calls;
}

test("attaches through a perf event and a link", () => {
  const kernel = new FakeKernel();
  const calls = attachOnFake(kernel, 5n);
  assert.equal(
    calls.map((traced) => traced.command ?? traced.arguments.request ?? traced.syscall),
    ["perf_event_open", "BPF_LINK_CREATE", "PERF_EVENT_IOC_ENABLE", "close", "close"],
  );
  const { attr, ...where } = calls[0]!.arguments;
  assert.equal(attr, { type: 2, config: 77, sample_period: 1, wakeup_events: 1, size: perfEventAttr.size });
  assert.equal(where, { pid: -1, cpu: onlineCpus()[0], group_fd: -1, flags: "PERF_FLAG_FD_CLOEXEC" });
  assert.is(calls[1]!.arguments["perf_event.bpf_cookie"], 5n);
  assert.equal(kernel.open, []);
});

test("where the kernel has no links for perf events, the event's ioctl attaches", () => {
  const kernel = new FakeKernel().on("BPF_LINK_CREATE", () => "EINVAL");
  assert.equal(
    attachOnFake(kernel).map((traced) => traced.command ?? traced.arguments.request ?? traced.syscall),
    ["perf_event_open", "BPF_LINK_CREATE", "PERF_EVENT_IOC_SET_BPF", "PERF_EVENT_IOC_ENABLE", "close"],
  );
  assert.throws(() => attachOnFake(kernel, 5n), /EINVAL.*\nHint: cookies need Linux 5.15 or newer/);
  assert.equal(kernel.open, []);
});

test("a failure half-way closes what was opened", () => {
  const kernel = new FakeKernel().on("BPF_LINK_CREATE", () => "EPERM");
  assert.throws(() => attachOnFake(kernel), /Cannot attach program "p" to tracepoint g:n: EPERM/);
  assert.equal(kernel.open, []);
});

test.run();
