/**
 * Answers `consume N` and `decode N`, `latency N` (a listener) and `iterate N` (a loop), `idle MILLISECONDS`, as the C
 * peer does. The argument is the path of the C peer, which produces the records from another process.
 */
import { createInterface } from "node:readline";
import * as a from "../../src/asm/index.ts";
import { createMap, openRingBuffer, type RingBuffer, struct, u64 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { startPeer } from "./peer.ts";

const record = struct({ f0: u64, f1: u64, f2: u64, f3: u64, f4: u64, f5: u64, f6: u64, f7: u64 });
const producer = process.argv[2]!;

function open(size: number): { ring: RingBuffer; program: Program; close(): void } {
  const map = createMap({ type: "ringbuf", maxEntries: size });
  const { r0, r1, r2, r3, r4, r10 } = a;
  const program = loadProgram({
    type: "socket_filter",
    license: "GPL",
    instructions: a.program(
      a.call("ktime_get_ns"),
      [-64, -56, -48, -40, -32, -24, -16, -8].map((at) => a.store("u64", r10, at, r0)),
      a.ldMap(r1, map),
      a.mov(r2, r10),
      a.add(r2, -64),
      a.mov(r3, 64),
      a.mov(r4, 0),
      a.call("ringbuf_output"),
      a.mov(r0, 0),
      a.exit(),
    ),
  });
  const ring = openRingBuffer(map);
  return {
    ring,
    program,
    close: () => {
      ring.close();
      program.close();
      map.close();
    },
  };
}

let big: ReturnType<typeof open> | undefined;

function consume(count: number, decode: boolean): string {
  big ??= open(64 << 20);
  const { ring, program } = big;
  program.run({ data: new Uint8Array(64), repeat: count });
  const bytes = ring.data;
  const state = { sum: 0, big: 0n };
  const callback = decode
    ? (_: DataView, offset: number): void => {
        state.sum += record.decode(bytes, offset).f7 > 0n ? 1 : 0;
      }
    : (view: DataView, offset: number): void => {
        state.sum +=
          view.getUint32(offset, true) + view.getUint32(offset + 24, true) + view.getUint32(offset + 56, true);
      };
  const before = process.cpuUsage();
  const got = ring.consume(callback);
  const used = process.cpuUsage(before);
  if (got !== count) throw new Error(`Consumed ${got} of ${count} records`);
  return `${(used.user + used.system) * 1000} ${state.sum}`;
}

async function latency(count: number, iterate: boolean): Promise<string> {
  const { ring, program, close } = open(1 << 20);
  const child = startPeer(producer, [], process.env, program.fd);
  const done = child.ask(`produce ${count}`);
  const values: number[] = [];
  if (iterate) {
    for await (const bytes of ring.records()) {
      const now = process.hrtime.bigint();
      values.push(Number(now - new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true)));
      if (values.length === count) break;
    }
  } else {
    await new Promise<void>((resolve) => {
      const listener = ring.listen((view, offset) => {
        values.push(Number(process.hrtime.bigint() - view.getBigUint64(offset, true)));
        if (values.length < count) return;
        listener.close();
        resolve();
      });
    });
  }
  await done;
  child.close();
  close();
  values.sort((x, y) => x - y);
  return `${values[count >> 1]} ${values[Math.floor((count * 99) / 100)]}`;
}

async function idle(milliseconds: number): Promise<string> {
  const { ring, close } = open(4096);
  const stop = new AbortController();
  const waiting = (async () => {
    for await (const _ of ring.records({ signal: stop.signal }));
  })().catch(() => {});
  // The first turns of a fresh process compile code.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  const used = process.cpuUsage(before);
  stop.abort();
  await waiting;
  close();
  return String((used.user + used.system) * 1000);
}

let turn = Promise.resolve();
createInterface({ input: process.stdin }).on("line", (line) => {
  const [word, count] = line.split(" ");
  turn = turn.then(async () => {
    const n = Number(count);
    if (word === "consume") console.log(consume(n, false));
    else if (word === "decode") console.log(consume(n, true));
    else if (word === "latency") console.log(await latency(n, false));
    else if (word === "iterate") console.log(await latency(n, true));
    else console.log(await idle(n));
  });
});
