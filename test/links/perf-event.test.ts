import { spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import { NotSupportedError } from "../../src/errors.ts";
import { attachPerfEvent } from "../../src/links/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { FakeKernel, onlineCpus, type SyscallTrace, traceSyscalls } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";

const test = suite("perf event links");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

function burn(milliseconds: number): void {
  const until = process.cpuUsage().user + milliseconds * 1000;
  while (process.cpuUsage().user < until);
}

kernel("the clock of every CPU runs a program", () => {
  using map = counter();
  using program = loadProgram({ type: "perf_event", instructions: counting(map), license: "GPL", name: "counter" });
  {
    using link = attachPerfEvent(program, { software: "cpu_clock" }, { sampleFrequency: 999, cookie: 3n });
    const info = link.info();
    assert.ok(info.type === "perf_event" && info.target.kind === "event" && info.target.cookie === 3n);
    burn(100);
    assert.ok(map.get(0)! >= 10n, `ran ${map.get(0)} times`);
  }
  const counted = map.get(0);
  burn(20);
  assert.is(map.get(0), counted);
});

kernel("an event of one process runs a program for that process", () => {
  using map = counter();
  using program = loadProgram({ type: "perf_event", instructions: counting(map), license: "GPL", name: "counter" });
  using _link = attachPerfEvent(program, { software: "context_switches" }, { pid: process.pid, samplePeriod: 1 });
  for (let i = 0; i < 5; i++) spawnSync("true");
  assert.ok(map.get(0)! >= 5n, `ran ${map.get(0)} times`);
});

kernel("an event that a machine does not count is a clear error", () => {
  using program = loadProgram({ type: "perf_event", instructions: [mov(r0, 0), exit()], license: "GPL" });
  let error: unknown;
  try {
    attachPerfEvent(program, { hardware: "cpu_cycles" }).close();
  } catch (thrown) {
    error = thrown;
  }
  assert.ok(error === undefined || error instanceof NotSupportedError, String(error));
  assert.throws(() => attachPerfEvent(program, { software: "cpu_clock" }, { pid: 0x3fffff00 }), /ESRCH/);
});

test("the events reach the kernel as it wants them", () => {
  const fake = new FakeKernel();
  const { backend } = fake;
  using program = loadProgram({ type: "perf_event", instructions: [mov(r0, 0), exit()], name: "p" }, { backend });
  const calls: SyscallTrace[] = [];
  using _tracer = traceSyscalls((traced) => calls.push(traced));
  const opened = (run: () => { close(): void }): unknown[] => {
    calls.length = 0;
    run().close();
    return calls
      .filter((call) => call.syscall === "perf_event_open")
      .map(({ arguments: { attr, pid, cpu } }) => {
        const { size, ...rest } = attr as { size: number };
        assert.is(size, 144);
        return { ...rest, pid, cpu };
      });
  };
  assert.equal(
    opened(() => attachPerfEvent(program, { software: "page_faults" }, { samplePeriod: 7, cpus: [1] })),
    [{ type: 1, config: 2, sample_period: 7, disabled: 1, pid: -1, cpu: 1 }],
  );
  assert.equal(
    opened(() => attachPerfEvent(program, { hardware: "branch_misses" }, { sampleFrequency: 99 })),
    onlineCpus().map((cpu) => ({ type: 0, config: 5, freq: 1, sample_freq: 99, disabled: 1, pid: -1, cpu })),
  );
  assert.equal(
    opened(() => attachPerfEvent(program, { breakpoint: 0xffffffff81000000n, access: "x" }, { pid: 9 })),
    [
      {
        type: 5,
        bp_type: 4,
        bp_addr: 0xffffffff81000000n,
        bp_len: 8,
        sample_period: 1,
        disabled: 1,
        pid: 9,
        cpu: -1,
      },
    ],
  );
  assert.equal(
    opened(() => attachPerfEvent(program, { attr: { type: 4, config: 0x1c2, sample_period: 5 } }, { cpus: [0] })),
    [{ type: 4, config: 0x1c2, sample_period: 5, disabled: 1, pid: -1, cpu: 0 }],
  );
  assert.throws(
    () => attachPerfEvent(program, { software: "cpu_clock" }, { samplePeriod: 1, sampleFrequency: 1 }),
    TypeError,
  );
  assert.throws(() => attachPerfEvent(program, { software: "naps" as "dummy" }), /"naps" is no event/);
});

test("when one CPU fails, what the others have is given back", () => {
  let links = 0;
  const fake = new FakeKernel().on("BPF_LINK_CREATE", () => (++links === 3 ? "EPERM" : undefined));
  const { backend } = fake;
  const program = loadProgram({ type: "perf_event", instructions: [mov(r0, 0), exit()], name: "p" }, { backend });
  assert.throws(() => attachPerfEvent(program, { software: "cpu_clock" }, { cpus: [0, 1, 2, 3] }), /EPERM/);
  program.close();
  assert.equal(fake.open, []);
});

test.run();
