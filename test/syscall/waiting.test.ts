import { spawn, spawnSync } from "node:child_process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { requires } from "../support/harness.ts";

const test = suite("waiting");
const kernel = requires(test, "bpf", "koffi");

const HEAD = `
  import { createMap, openRingBuffer, u32 } from "${new URL("../../src/maps/index.js", import.meta.url)}";
  import { loadProgram } from "${new URL("../../src/programs/index.js", import.meta.url)}";
  import * as a from "${new URL("../../src/asm/index.js", import.meta.url)}";
  const map = createMap({ type: "ringbuf", name: "w", maxEntries: 65536 });
  const ring = openRingBuffer(map);
  const { program, mov, store, ldMap, call, exit, r0, r1, r2, r3, r4, r10 } = a;
  // Puts one record of 8 bytes into the ring buffer each time it runs.
  const writer = loadProgram({ type: "socket_filter", license: "GPL", instructions: program(
    store("u64", r10, -8, 42), ldMap(r1, map), mov(r2, r10), a.add(r2, -8), mov(r3, 8), mov(r4, 0),
    call("ringbuf_output"), mov(r0, 0), exit()) });
  const put = () => writer.run({ data: new Uint8Array(64) });
`;

function run(body: string, flags: readonly string[] = []): { out: string; status: number | null; seconds: number } {
  const started = performance.now();
  const child = spawnSync(process.execPath, [...flags, "--input-type=module", "-e", HEAD + body], {
    encoding: "utf8",
    timeout: 20_000,
  });
  return {
    out: child.stdout + child.stderr,
    status: child.status,
    seconds: (performance.now() - started) / 1000,
  };
}

kernel("records written by the kernel wake the reader", () => {
  const { out, status } = run(`
    setTimeout(put, 20); setTimeout(put, 40); setTimeout(() => { put(); put(); }, 60);
    let n = 0;
    for await (const record of ring.records()) { if (new DataView(record.buffer).getUint32(0, true) !== 42) throw 1; if (++n === 4) break; }
    ring.close(); map.close(); console.log("got", n);
  `);
  assert.is(out, "got 4\n");
  assert.is(status, 0);
});

kernel("the event loop runs while a reader waits", () => {
  const { out } = run(`
    const it = ring.records(); const pending = it.next();
    let ticks = 0; const timer = setInterval(() => ticks++, 1);
    setTimeout(() => { clearInterval(timer); put(); }, 200);
    await pending; console.log(ticks > 50 ? "ran" : "blocked " + ticks); await it.return(); ring.close();
  `);
  assert.is(out, "ran\n");
});

kernel("a waiting reader uses no CPU time", () => {
  const { out } = run(`
    const it = ring.records(); const pending = it.next();
    await new Promise((r) => setTimeout(r, 300));
    const before = process.cpuUsage();
    await new Promise((r) => setTimeout(r, 1500));
    const used = process.cpuUsage(before);
    const ms = (used.user + used.system) / 1000 / 1.5;
    console.log(ms < 20 ? "idle" : ms + " ms of CPU a second");
    put(); await pending; await it.return(); ring.close();
  `);
  assert.is(out, "idle\n");
});

kernel("waiting survives garbage collection", () => {
  const { out } = run(
    `
    const it = ring.records(); const pending = it.next();
    for (let i = 0; i < 20; i++) { globalThis.gc(); await new Promise((r) => setTimeout(r, 5)); new Array(1e5).fill({}); }
    put(); const first = await pending; console.log("got", first.value.length); await it.return(); ring.close();
  `,
    ["--expose-gc"],
  );
  assert.is(out, "got 8\n");
});

kernel("a waiting iteration keeps the process running, as a socket does", () => {
  const { out, status } = run(`
    setTimeout(put, 300).unref();
    setTimeout(() => {}, 400);
    (async () => { for await (const _ of ring.records()) { console.log("record"); ring.close(); } })().catch((e) => console.log(e.code));
  `);
  assert.is(out, "record\nERR_CLOSED\n");
  assert.is(status, 0);
});

kernel("an open reader that nobody waits on lets the process end", () => {
  const { out, status, seconds } = run(`
    const it = ring.records(); setTimeout(put, 10); await it.next(); console.log("done");
  `);
  assert.is(out, "done\n");
  assert.is(status, 0);
  assert.ok(seconds < 10);
});

kernel("process.exit ends a process whose reader waits", () => {
  const { status, seconds } = run(`
    void ring.records().next(); setTimeout(() => process.exit(7), 50); await new Promise(() => {});
  `);
  assert.is(status, 7);
  assert.ok(seconds < 10, `${seconds} s`);
});

kernel("a signal ends a process whose reader waits", async () => {
  const body = `${HEAD} void ring.records().next(); console.log("waiting"); await new Promise(() => {});`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", body], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.on("exit", (_, signal) => resolve(signal)));
  child.kill("SIGTERM");
  assert.is(await ended, "SIGTERM");
});

kernel("a slow consumer loses nothing that the ring can hold, and sees everything in order", () => {
  const { out } = run(`
    let n = 0;
    for (let i = 0; i < 1000; i++) put();
    for await (const _ of ring.records({ batch: 10 })) { if (++n % 100 === 0) await new Promise((r) => setTimeout(r, 1)); if (n === 1000) break; }
    console.log(n, ring.available); ring.close();
  `);
  assert.is(out, "1000 0\n");
});

kernel("many readers share one poller", () => {
  const { out } = run(`
    const maps = Array.from({ length: 20 }, () => createMap({ type: "ringbuf", maxEntries: 4096 }));
    const rings = maps.map((m) => openRingBuffer(m));
    const waits = rings.map((r) => r.records().next());
    for (const m of maps) {
      const w = loadProgram({ type: "socket_filter", license: "GPL", instructions: program(
        store("u64", r10, -8, 1), ldMap(r1, m), mov(r2, r10), a.add(r2, -8), mov(r3, 8), mov(r4, 0),
        call("ringbuf_output"), mov(r0, 0), exit()) });
      w.run({ data: new Uint8Array(64) }); w.close();
    }
    const all = await Promise.all(waits);
    const { readdirSync, readlinkSync } = await import("node:fs");
    const epolls = () => readdirSync("/proc/self/fd").filter((f) => { try { return readlinkSync("/proc/self/fd/" + f).includes("eventpoll"); } catch { return false; } }).length;
    const during = epolls();
    for (const r of rings) r.close();
    for (const m of maps) m.close();
    console.log(all.length, during - epolls());
  `);
  assert.is(out, "20 1\n");
});

test.run();
