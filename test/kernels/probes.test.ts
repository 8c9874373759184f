import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import {
  attachKprobe,
  attachKprobeMulti,
  attachPerfEvent,
  attachRawTracepoint,
  attachSyscall,
  attachTracepoint,
  attachUprobe,
  attachUprobeMulti,
  attachUsdt,
  type Link,
} from "../../src/links/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { counter, counting } from "../links/counter.ts";
import { failOnLeaks, repository } from "../support/harness.ts";
import { changes, counts, features, givesCookie, unlinkFile } from "./feature.ts";

const test = suite("probes under other kernels");
failOnLeaks(test);
const feature = features(test);

const kprobe = { type: "kprobe" } as const;
const multi = { type: "kprobe", expectedAttachType: "trace_kprobe_multi" } as const;
const session = { type: "kprobe", expectedAttachType: "trace_kprobe_session" } as const;
const NO_FPROBE = ["6.1"] as const;

let symbols: string | undefined;

function addressOf(name: string): bigint {
  symbols ??= readFileSync("/proc/kallsyms", "utf8");
  return BigInt(`0x${new RegExp(`^([0-9a-f]+) [tT] ${name}$`, "m").exec(symbols)![1]}`);
}

const unlinkTwice = (): void => unlinkFile(2);

feature("kprobe", [], () =>
  counts(
    kprobe,
    (program) => attachKprobe(program, "vfs_unlink"),
    unlinkTwice,
    (link) => {
      const info = link.info();
      assert.ok(info.type === "perf_event");
      // Before 6.6 the kernel does not tell.
      if (info.target.kind === "unspec") return;
      assert.ok(info.target.kind === "kprobe" && info.target.function === "vfs_unlink");
    },
  ),
);
feature("kretprobe", [], () =>
  counts(kprobe, (program) => attachKprobe(program, "vfs_unlink", { return: true }), unlinkTwice),
);
feature("kprobe by tracefs", [], () =>
  counts(kprobe, (program) => attachKprobe(program, "vfs_unlink", { mode: "tracefs" }), unlinkTwice),
);
feature("kretprobe by tracefs, maxactive", [], () =>
  counts(kprobe, (program) => attachKprobe(program, "vfs_unlink", { return: true, maxActive: 8 }), unlinkTwice),
);
feature("kprobe at an address", [], () =>
  counts(kprobe, (program) => attachKprobe(program, addressOf("vfs_unlink")), unlinkTwice),
);
feature("kprobe at an offset", [], () => {
  for (const mode of ["perf", "tracefs"] as const) {
    const refused: unknown[] = [];
    counts(
      kprobe,
      (program) => {
        // An instruction begins at one of them, and not at all: the first ones are those of the tracer.
        for (let offset = 1; offset < 24; offset++) {
          try {
            return attachKprobe(program, "vfs_unlink", { offset, mode });
          } catch (error) {
            refused.push(error);
          }
        }
        throw refused[0];
      },
      unlinkTwice,
    );
    for (const error of refused) assert.is((error as BpfError).code, "ERR_ATTACH_TARGET", String(error));
    assert.ok(refused.length > 0);
  }
});
feature("kprobe cookie", [], () =>
  givesCookie(
    kprobe,
    (program) => attachKprobe(program, "vfs_unlink", { cookie: 2n ** 63n + 5n }),
    unlinkFile,
    2n ** 63n + 5n,
  ),
);
feature("ksyscall, kretsyscall", [], () => {
  counts(kprobe, (program) => attachSyscall(program, "unlink"), unlinkTwice);
  counts(kprobe, (program) => attachSyscall(program, "unlink", { return: true }), unlinkTwice);
});
feature("kprobe on a function of a module", [], () => {
  spawnSync("modprobe", ["tun"]);
  const trigger = (): void => void readOnce("/dev/net/tun");
  counts(kprobe, (program) => attachKprobe(program, "tun:tun_chr_open"), trigger);
  counts(kprobe, (program) => attachKprobe(program, "tun_chr_open"), trigger);
  counts(kprobe, (program) => attachKprobe(program, "tun_chr_open", { mode: "tracefs" }), trigger);
});
feature("unknown functions have a near one", [], () => {
  using map = counter();
  using program = loadProgram({ type: "kprobe", instructions: counting(map), license: "GPL" });
  for (const mode of ["perf", "tracefs"] as const) {
    assert.throws(
      () => attachKprobe(program, "vfs_unlinkk", { mode }),
      (error: BpfError) => error.code === "ERR_ATTACH_TARGET" && /did you mean vfs_unlink/.test(error.message),
      mode,
    );
  }
});

/** Opens a device, which may fail afterwards. */
function readOnce(path: string): void {
  try {
    readFileSync(path);
  } catch {
    // Opened all the same.
  }
}

feature("kprobe.multi by names", NO_FPROBE, () =>
  counts(
    multi,
    (program) => attachKprobeMulti(program, { symbols: ["vfs_unlink", "vfs_rmdir"] }),
    unlinkTwice,
    (link) => {
      const info = link.info();
      assert.ok(info.type === "kprobe_multi");
      assert.is(info.count, 2);
    },
  ),
);
feature("kprobe.multi by addresses", NO_FPROBE, () =>
  counts(multi, (program) => attachKprobeMulti(program, { addresses: [addressOf("vfs_unlink")] }), unlinkTwice),
);
feature("kprobe.multi by pattern", NO_FPROBE, () =>
  counts(multi, (program) => attachKprobeMulti(program, { pattern: "vfs_unlin?" }), unlinkTwice),
);
feature("kprobe.multi cookies", NO_FPROBE, () => {
  const attach = (program: Program): Link =>
    attachKprobeMulti(program, { symbols: ["vfs_rename", "vfs_unlink"], cookies: [1n, 7n] });
  givesCookie(multi, attach, unlinkTwiceInPlace, 7n);
});
feature("kretprobe.multi", NO_FPROBE, () =>
  counts(multi, (program) => attachKprobeMulti(program, { symbols: ["vfs_unlink"], return: true }), unlinkTwice),
);
feature("kprobe.session", ["6.1"], () =>
  counts(session, (program) => attachKprobeMulti(program, { symbols: ["vfs_unlink"] }), unlinkTwice),
);

function unlinkTwiceInPlace(): void {
  unlinkFile(2);
}

// Compiled before the machine starts, which has no compiler.
const target = join(repository, ".build/test/kernels/usdt-target");
const runTarget = (): void => void spawnSync(target, ["3"]);
const uprobeMulti = { type: "kprobe", expectedAttachType: "trace_uprobe_multi" } as const;
const uprobeSession = { type: "kprobe", expectedAttachType: "trace_uprobe_session" } as const;

feature("uprobe", [], () => {
  counts(kprobe, (program) => attachUprobe(program, target, "one"), runTarget);
  counts(kprobe, (program) => attachUprobe(program, target, "one", { mode: "tracefs" }), runTarget);
});
feature("uretprobe", [], () => {
  counts(kprobe, (program) => attachUprobe(program, target, "one", { return: true }), runTarget);
  counts(kprobe, (program) => attachUprobe(program, target, "one", { return: true, mode: "tracefs" }), runTarget);
});
feature("uprobe cookie", [], () =>
  givesCookie(kprobe, (program) => attachUprobe(program, target, "one", { cookie: 99n }), runTarget, 99n),
);
feature("uprobe.multi", ["6.1"], () => {
  counts(uprobeMulti, (program) => attachUprobeMulti(program, target, { places: ["one", "two"] }), runTarget);
  counts(uprobeMulti, (program) => attachUprobeMulti(program, target, { places: ["two"], return: true }), runTarget);
  const attach = (program: Program): Link =>
    attachUprobeMulti(program, target, { places: ["main", "one"], cookies: [1n, 2n] });
  givesCookie(uprobeMulti, attach, runTarget, 2n);
});
feature("uprobe.session", ["6.1", "6.12"], () =>
  counts(uprobeSession, (program) => attachUprobeMulti(program, target, { places: ["one"] }), runTarget),
);
feature("USDT", [], () => {
  counts(kprobe, (program) => attachUsdt(program, target, "test", "two"), runTarget);
  counts(
    kprobe,
    (program) => attachUsdt(program, target, "test", "one"),
    () => void spawnSync(target, ["3"]),
  );
});
feature("USDT by uprobe.multi", ["6.1"], () =>
  counts(uprobeMulti, (program) => attachUsdt(program, target, "test", "one"), runTarget),
);

const startProcess = (): void => void spawnSync("true");

feature("tracepoint", [], () => {
  counts({ type: "tracepoint" }, (program) => attachTracepoint(program, "sched", "sched_process_exec"), startProcess);
  const attach = (program: Program): Link => attachTracepoint(program, "sched", "sched_process_exec", { cookie: 3n });
  givesCookie({ type: "tracepoint" }, attach, startProcess, 3n);
});
feature("raw tracepoint", [], () =>
  counts({ type: "raw_tracepoint" }, (program) => attachRawTracepoint(program, "sched_process_exec"), startProcess),
);
feature("raw tracepoint cookie", ["6.1"], () => {
  const attach = (program: Program): Link => attachRawTracepoint(program, "sched_process_exec", { cookie: 4n });
  givesCookie({ type: "raw_tracepoint" }, attach, startProcess, 4n);
});
feature("perf event", [], () => {
  const burn = (): void => {
    for (const end = performance.now() + 300; performance.now() < end; );
  };
  const perf = { type: "perf_event" } as const;
  counts(perf, (program) => attachPerfEvent(program, { software: "cpu_clock" }, { sampleFrequency: 99 }), burn);
  counts(perf, (program) => attachPerfEvent(program, { software: "context_switches" }), startProcess);
  const breakpoint = { breakpoint: addressOf("vfs_unlink"), access: "x" } as const;
  counts(perf, (program) => attachPerfEvent(program, breakpoint, { samplePeriod: 1 }), unlinkTwice);
});

feature("changes of links to probes", [], () => {
  const kept = { update: false, detach: false };
  changes(kprobe, (program) => attachKprobe(program, "vfs_unlink"), unlinkFile, kept);
  changes(kprobe, (program) => attachUprobe(program, target, "one"), runTarget, kept);
  const tracepoint = (program: Program): Link => attachTracepoint(program, "sched", "sched_process_exec");
  changes({ type: "tracepoint" }, tracepoint, startProcess, kept);
  const raw = (program: Program): Link => attachRawTracepoint(program, "sched_process_exec");
  changes({ type: "raw_tracepoint" }, raw, startProcess, kept);
});
feature("changes of kprobe.multi, uprobe.multi", ["6.1"], () => {
  const kept = { update: false, detach: false };
  changes(multi, (program) => attachKprobeMulti(program, { symbols: ["vfs_unlink"] }), unlinkFile, kept);
  changes(uprobeMulti, (program) => attachUprobeMulti(program, target, { places: ["one"] }), runTarget, kept);
});

test.run();
