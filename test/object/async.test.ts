import { existsSync, readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Worker } from "node:worker_threads";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { add, exit, mov, program, r0 } from "../../src/asm/index.ts";
import { createObjectSpec, parseObject, writeObject } from "../../src/elf/index.ts";
import { BtfError, ElfError } from "../../src/errors.ts";
import { createMap } from "../../src/maps/index.ts";
import { type LoadObjectAsyncOptions, loadObject, loadObjectAsync } from "../../src/object/index.ts";
import { loadInWorker } from "../../src/object/load-async.ts";
import { VerifierError } from "../../src/programs/index.ts";
import { FakeKernel } from "../../src/syscall/index.ts";
import { fixture } from "../elf/build.ts";
import { failOnLeaks, kernelDescriptors, requires } from "../support/harness.ts";
import { withBpffs } from "./bpffs.ts";

const test = suite("object/async");
failOnLeaks(test);

const bytes = fixture("typed.el.o");
const data = new Uint8Array(64);
const real = requires(test, "bpf");

async function rejection(promise: Promise<{ close(): void }>): Promise<Error> {
  let object: { close(): void };
  try {
    object = await promise;
  } catch (error) {
    return error as Error;
  }
  object.close();
  throw new Error("The promise did not reject");
}

/** An object that takes its time: the verifier walks each of its instructions. */
function large(count: number): Uint8Array {
  const instructions = program(
    mov(r0, 0),
    Array.from({ length: count }, () => add(r0, 1)),
    exit(),
  );
  return writeObject(createObjectSpec({ license: "GPL", programs: { large: { section: "socket", instructions } } }));
}

real("an object loaded by another thread is like one loaded here", async () => {
  using here = loadObject(bytes, { name: "typed", variables: { first_pid: 5 } });
  using object = await loadObjectAsync(bytes, { name: "typed", variables: { first_pid: 5 } });
  assert.equal(Object.keys(object.programs), Object.keys(here.programs));
  assert.equal(Object.keys(object.maps), Object.keys(here.maps));
  assert.equal(Object.keys(object.variables), Object.keys(here.variables));
  for (const [name, map] of Object.entries(here.maps)) {
    assert.equal(object.map(name).description, map.description, name);
    assert.is(object.map(name).constructor, map.constructor);
  }
  assert.equal(object.spec.programs, here.spec.programs);
  assert.equal(object.spec.maps, here.spec.maps);
  assert.equal(object.warnings, here.warnings);
  object.program("fill").run({ data });
  assert.is(object.map("tasks").get(5).comm, "init");
  assert.is(object.variable("runs").get(), 1n);
  object.variable("runs").set(41n);
  object.program("fill").run({ data });
  assert.is(object.variable("runs").get(), 42n);
  for await (const { text } of object.map("events").records()) {
    assert.is(text, "hello");
    break;
  }
});

real("a specification may be given, and other maps", async () => {
  const spec = parseObject(bytes);
  using tasks = createMap({ type: "hash", key: 4, value: 32, maxEntries: 3 });
  const loading = loadObjectAsync(spec, { maps: { tasks }, programs: ["fill"] });
  using object = await loading;
  assert.is(object.spec.programs.fill!.instructions, spec.programs.fill!.instructions);
  assert.equal(Object.keys(object.programs), ["fill"]);
  object.program("fill").run({ data });
  assert.is(tasks.count(), 1);
  assert.is(object.map("tasks").get(100).comm, "init");
});

real("a map that is lent may be closed meanwhile", async () => {
  const tasks = createMap({ type: "hash", key: 4, value: 32, maxEntries: 3 });
  const loading = loadObjectAsync(bytes, { maps: { tasks } });
  tasks.close();
  using object = await loading;
  object.program("fill").run({ data });
  assert.is(object.map("tasks").count(), 1);
});

real("arenas and tables for the kernel come along", async () => {
  using object = await loadObjectAsync(fixture("arena.el.o"), { variables: { table: [1n, 2n, 3n, 4n] } });
  object.variable("first").set(30);
  object.program("program").run({});
  assert.is(object.variable("sum").get(), 33n);
});

requires(
  test,
  "bpf",
  "kernel-btf",
)("tables for the kernel can be attached", async () => {
  using object = await loadObjectAsync(fixture("struct-ops.el.o"));
  const listed = (): string => readFileSync("/proc/sys/net/ipv4/tcp_available_congestion_control", "utf8");
  const links = object.attach({ structOps: ["by_link"] });
  assert.match(listed(), /rawbpf_two/);
  links.close();
  assert.not.match(listed(), /rawbpf_two/);
});

requires(
  test,
  "bpf",
  "kernel-btf",
)("errors are the same as here", async () => {
  const given = fixture("core-kernel.el.o");
  const error = (await rejection(loadObjectAsync(given))) as VerifierError;
  assert.instance(error, VerifierError);
  let here: VerifierError | undefined;
  try {
    loadObject(given).close();
  } catch (caught) {
    here = caught as VerifierError;
  }
  assert.instance(here, VerifierError);
  assert.is(error.name, "VerifierError");
  assert.is(error.message, here!.message);
  assert.equal({ ...error }, { ...here });
  assert.match(error.stack ?? "", /VerifierError|Cannot load program/);
  // The caller's bytes are as they were.
  assert.ok(given.length > 0);
});

test("faults of files and options", async () => {
  const elf = await rejection(loadObjectAsync(new Uint8Array(100)));
  assert.instance(elf, ElfError);
  const btf = await rejection(loadObjectAsync(bytes, { kernelBtf: new Uint8Array(30) }));
  assert.instance(btf, BtfError);
  const missing = await rejection(loadObjectAsync(bytes, { programs: ["fil"] }));
  assert.match(missing.message, /^The object has no program "fil"\nHint: It has /);
});

const stays: Record<string, Record<string, unknown>> = {
  backend: { backend: new FakeKernel().backend },
  btfCache: { btfCache: new Map() },
  kernelBtf: { kernelBtf: { typeById: () => undefined } },
  variables: { variables: { first_pid: () => 1 } },
};
for (const [name, options] of Object.entries(stays)) {
  test(`option ${name} does not travel`, async () => {
    const error = await rejection(loadObjectAsync(bytes, options as LoadObjectAsyncOptions));
    assert.instance(error, TypeError);
    assert.match(error.message, `Cannot load in another thread: option ${name} cannot be copied to it; `);
  });
}

real("a signal ends it, before and while it loads", async () => {
  const reason = new Error("enough");
  assert.is(await rejection(loadObjectAsync(bytes, { signal: AbortSignal.abort(reason) })), reason);
  const file = large(30_000);
  let given = 0;
  for (const wait of [0, 200]) {
    const control = new AbortController();
    setTimeout(() => control.abort(reason), wait);
    try {
      (await loadObjectAsync(file, { signal: control.signal })).close();
    } catch (error) {
      assert.is(error, reason);
      given++;
    }
    assert.equal(
      kernelDescriptors().filter((entry) => /bpf-(map|prog)|btf/.test(entry)),
      [],
      `after ${wait} ms`,
    );
  }
  assert.ok(given >= 1);
});

requires(
  test,
  "bpf",
  "sys-admin",
)("when the thread dies, nothing is left of what it had opened", async () => {
  await withBpffs(async (folder) => {
    const spec = parseObject(bytes);
    spec.maps.tasks!.pinning = "by_name";
    const maps = (): string =>
      readFileSync("/proc/self/maps", "utf8")
        .split("\n")
        .filter((line) => /bpf/.test(line))
        .join();
    const start = (request: object): Worker =>
      new Worker(new URL("./ending-worker.js", import.meta.url), { workerData: { request } });
    const error = await rejection(loadInWorker(spec, { pinFolder: folder }, start));
    assert.match(error.message, /^The thread that loads the object ended unexpectedly \(exit code 7\)$/);
    assert.not(existsSync(`${folder}/tasks`));
    await rejection(loadInWorker(fixture("arena.el.o"), {}, start));
    assert.is(maps(), "");
  });
});

requires(
  test,
  "bpf",
  "sys-admin",
)("what is pinned stays when it succeeds, and goes when it fails", async () => {
  await withBpffs(async (folder) => {
    const spec = parseObject(bytes);
    spec.maps.tasks!.pinning = "by_name";
    using object = await loadObjectAsync(spec, { pinFolder: folder });
    assert.ok(existsSync(`${folder}/tasks`));
    object.map("tasks").unpin(`${folder}/tasks`);
    spec.maps.outer!.inner!.keySize = 9;
    await rejection(loadObjectAsync(spec, { pinFolder: folder }));
    assert.not(existsSync(`${folder}/tasks`));
  });
});

real("the event loop goes on meanwhile", async () => {
  const file = large(100_000);
  const delays: Record<string, number> = {};
  for (const [how, load] of [
    ["loadObject", () => Promise.resolve().then(() => loadObject(file))],
    ["loadObjectAsync", () => loadObjectAsync(file)],
  ] as const) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const started = performance.now();
    (await load()).close();
    await new Promise((resolve) => setTimeout(resolve, 20));
    delays[how] = delay.max / 1e6;
    delay.disable();
    console.log(
      `NOTE ${how} of 100,000 instructions: longest delay of the event loop ${delays[how].toFixed(0)} ms, ` +
        `${(performance.now() - started).toFixed(0)} ms altogether`,
    );
  }
  assert.ok(delays.loadObjectAsync! < delays.loadObject! / 2, JSON.stringify(delays));
});

test.run();
