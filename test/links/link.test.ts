import { spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import { NotSupportedError } from "../../src/errors.ts";
import {
  attachRawTracepoint,
  attachTracepoint,
  listLinks,
  openLinkById,
  openPinnedLink,
} from "../../src/links/index.ts";
import { pinObject } from "../../src/maps/pin.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { mountDetached } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";

const test = suite("links");
failOnLeaks(test);
const kernel = requires(test, "bpf", "sys-admin", "koffi");

function throwsCode(run: () => unknown, code: string): void {
  assert.throws(run, (error: { code?: string }) => error.code === code);
}

kernel("the kernel tells what a link is, by kind", () => {
  using map = counter();
  using loaded = loadProgram({ type: "tracepoint", instructions: counting(map), license: "GPL", name: "counter" });
  using link = attachTracepoint(loaded, "sched", "sched_process_exec", { cookie: 77n });
  const info = link.info();
  assert.equal(info, {
    type: "perf_event",
    id: link.id,
    programId: info.programId,
    target: { kind: "tracepoint", name: "sched_process_exec", cookie: 77n },
  });
  assert.ok(info.programId > 0);

  using raw = loadProgram({ type: "raw_tracepoint", instructions: [mov(r0, 0), exit()], license: "GPL" });
  using second = attachRawTracepoint(raw, "sched_process_exec");
  const other = second.info();
  assert.is(other.type, "raw_tracepoint");
  assert.is(other.type === "raw_tracepoint" && other.name, "sched_process_exec");
  assert.equal(
    [...listLinks()].filter((one) => one.id === info.id || one.id === other.id),
    [info, other],
  );
});

kernel("a link can be opened by its number: both must be closed before it ends", () => {
  using map = counter();
  using loaded = loadProgram({ type: "raw_tracepoint", instructions: counting(map), license: "GPL" });
  const first = attachRawTracepoint(loaded, "sched_process_exec");
  using second = openLinkById(first.id);
  assert.is(second.target, "raw tracepoint sched_process_exec");
  first.close();
  spawnSync("true");
  assert.ok(map.get(0)! >= 1n);
  second.close();
  // Others start programs too: what counts is that nothing is added from here on.
  const counted = map.get(0)!;
  spawnSync("true");
  assert.is(map.get(0), counted);
  throwsCode(() => second.info(), "ERR_CLOSED");
});

function openPinned(path: string): { readonly id: number } {
  using link = openPinnedLink(path);
  return { id: link.id };
}

kernel("a pinned link outlives its handle, and ends when it is unpinned", () => {
  using map = counter();
  using loaded = loadProgram({ type: "raw_tracepoint", instructions: counting(map), license: "GPL" });
  using bpffs = mountDetached(loaded.owner.backend, "bpf");
  const path = `/proc/self/fd/${bpffs.number}/link`;
  const link = attachRawTracepoint(loaded, "sched_process_exec");
  link.pin(path);
  assert.equal(link.pins, [path]);
  link.close();
  spawnSync("true");
  assert.ok(map.get(0)! >= 1n);
  {
    using again = openPinnedLink(path);
    assert.is(again.type, "raw_tracepoint");
  }
  const { id } = openPinned(path);
  link.unpin();
  // The kernel lets go of what was pinned a little later.
  const until = Date.now() + 5000;
  while ([...listLinks()].some((one) => one.id === id) && Date.now() < until);
  const counted = map.get(0)!;
  spawnSync("true");
  assert.is(map.get(0), counted);
  throwsCode(() => openPinnedLink(path), "ENOENT");
});

kernel("what a kind of link cannot do is a clear error", () => {
  using map = counter();
  using loaded = loadProgram({ type: "tracepoint", instructions: counting(map), license: "GPL" });
  using link = attachTracepoint(loaded, "sched", "sched_process_exec");
  assert.throws(
    () => link.update(loaded),
    (error: unknown) => error instanceof NotSupportedError && error.message.includes("Updating a perf_event link"),
  );
  assert.throws(() => link.detach(), /before its last descriptor is closed is not supported here/);
  spawnSync("true");
  assert.ok(map.get(0)! >= 1n);
});

kernel("a program that is pinned is no link", () => {
  using loaded = loadProgram({ type: "socket_filter", instructions: [mov(r0, 0), exit()] });
  using bpffs = mountDetached(loaded.owner.backend, "bpf");
  const path = `/proc/self/fd/${bpffs.number}/program`;
  pinObject(loaded.owner, path);
  throwsCode(() => openPinnedLink(path), "ERR_TYPE_MISMATCH");
  throwsCode(() => openLinkById(0x7fffffff), "ENOENT");
});

test.run();
