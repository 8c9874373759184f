import { fileURLToPath } from "node:url";
import { buildPlainPeer } from "./build-peer.ts";
import { type Peer, startPeer } from "./peer/peer.ts";
import { compare, median, type Report, short } from "./report.ts";

const RECORDS = short ? 50_000 : 400_000;
const WAKE_UPS = short ? 100 : 400;
const IDLE_MS = short ? 500 : 2000;

/** Ring buffer: throughput, wake-up latency and idle cost, against the same in C. */
export async function run(report: Report): Promise<void> {
  const compiled = buildPlainPeer("bench/peer/peer.c");
  if (compiled === undefined) throw new Error("The ring buffer benchmark needs a C compiler: its producer is in C");
  const start = (): Peer =>
    startPeer(process.execPath, [fileURLToPath(new URL("./peer/ring.js", import.meta.url)), compiled]);
  const ours = start();
  // A process for each kind of callback, as in a real program: a call site that sees one callback is inlined.
  const decoding = start();
  const c = startPeer(compiled, []);
  try {
    await throughput(report, ours, decoding, c);
    await latency(report, ours, c);
    await idle(report, ours, c);
  } finally {
    ours.close();
    decoding.close();
    c.close();
  }
}

async function throughput(report: Report, ours: Peer, decoding: Peer, c: Peer): Promise<void> {
  const slice = (peer: Peer, word: string) => async (): Promise<number> =>
    Number((await peer.ask(`${word} ${RECORDS}`))[0]) / RECORDS;
  const result = await compare<"plain C" | "callback" | "decoded">(
    { "plain C": slice(c, "consume"), callback: slice(ours, "consume"), decoded: slice(decoding, "decode") },
    "plain C",
    { rounds: 15, warmup: 8 },
  );
  const against = { unit: "ns", peer: "plain C", peerValue: result.median["plain C"] };
  report({
    name: "ring buffer, 64-byte record to a callback",
    value: result.median.callback,
    ...against,
    ratio: result.ratio.callback,
    aim: "<= 2x",
  });
  report({
    name: "ring buffer, 64-byte record to an object of 8 bigints",
    value: result.median.decoded,
    ...against,
    ratio: result.ratio.decoded,
  });
}

async function latency(report: Report, ours: Peer, c: Peer): Promise<void> {
  const rounds = short ? 1 : 5;
  const samples: Record<string, { readonly p50: number[]; readonly p99: number[] }> = {};
  for (let round = 0; round < rounds; round++) {
    for (const [name, peer, word] of [
      ["c", c, "latency"],
      ["listener", ours, "latency"],
      ["loop", ours, "iterate"],
    ] as const) {
      const [p50, p99] = await peer.ask(`${word} ${WAKE_UPS}`);
      samples[name] ??= { p50: [], p99: [] };
      samples[name].p50.push(Number(p50) / 1000);
      samples[name].p99.push(Number(p99) / 1000);
    }
  }
  for (const name of ["listener", "loop"]) {
    for (const quantile of ["p50", "p99"] as const) {
      const mine = samples[name]![quantile];
      const theirs = samples.c![quantile];
      report({
        name: `ring buffer, wake-up of a ${name}, ${quantile}`,
        value: median(mine),
        unit: "us",
        peer: "plain C",
        peerValue: median(theirs),
        ratio: median(mine.map((value, i) => value / theirs[i]!)),
        ...(name === "listener" && quantile === "p50" ? { aim: "<= 2.5x" } : {}),
      });
    }
  }
}

async function idle(report: Report, ours: Peer, c: Peer): Promise<void> {
  const perSecond = async (peer: Peer): Promise<number> =>
    Number((await peer.ask(`idle ${IDLE_MS}`))[0]) / 1e6 / (IDLE_MS / 1000);
  const value = await perSecond(ours);
  report({
    name: "waiting reader, CPU time in a second",
    value,
    unit: "ms",
    peer: "plain C",
    peerValue: await perSecond(c),
    aim: "<= 2 ms",
  });
}
