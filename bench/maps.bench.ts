import { fileURLToPath } from "node:url";
import { buildCiliumPeer, buildLibbpfPeer } from "./build-peer.ts";
import { type Peer, startPeer } from "./peer/peer.ts";
import { compare, type Report, short } from "./report.ts";

const CALLS = 20_000;
const ENTRIES = short ? 50_000 : 1_000_000;
const RECORDS = short ? 50_000 : 400_000;

/** Who does the work, and with which words. */
interface Contestants {
  readonly [name: string]: { readonly peer: Peer; readonly word: string };
}

/**
 * Maps against libbpf and cilium/ebpf: single operations, a whole hash, records of a ring buffer. Every contestant is a
 * process of its own that is asked for slices in random order; CPU time of the process. All of them must come to the
 * same sums.
 */
export async function run(report: Report): Promise<void> {
  const libbpf = buildLibbpfPeer("bench/peer/maps.c");
  const cilium = buildCiliumPeer("bench/peer/maps.go");
  const child = fileURLToPath(new URL("./peer/maps.js", import.meta.url));
  const started: Peer[] = [];
  const start = (program: string, args: readonly string[]): Peer => {
    const peer = startPeer(program, args);
    started.push(peer);
    return peer;
  };
  // A process for each kind of loop, as in a real program: a call site that sees one callback is inlined.
  const own = (): Peer => start(process.execPath, [child]);
  const peers: { readonly name: string; readonly peer: Peer }[] = [];
  if (libbpf !== undefined) peers.push({ name: libbpf.name, peer: start(libbpf.path, []) });
  if (cilium !== undefined) peers.push({ name: cilium.name, peer: start(cilium.path, []) });
  const others = (word: string): Contestants =>
    Object.fromEntries(peers.map(({ name, peer }) => [name, { peer, word }]));
  try {
    const single = own();
    for (const type of ["hash", "array", "percpu_array"]) {
      for (const word of ["lookup", "update"]) {
        const contestants = { ours: { peer: single, word: `${word} ${type}` }, ...others(`${word} ${type}`) };
        await measure(report, `map ${word}, ${type}`, contestants, CALLS, 41, { ours: "<= 1.2x" });
      }
    }
    const reading = {
      "ours, typed arrays": { peer: own(), word: "batch" },
      "ours, objects to a callback": { peer: own(), word: "objects" },
      "ours, loop over entries": { peer: own(), word: "loop" },
      ...others("batch"),
    };
    const aims = { "ours, typed arrays": "<= 1.1x", "ours, objects to a callback": "<= 1.5x" };
    await measure(report, `hash of ${ENTRIES} entries, each`, reading, ENTRIES, 7, aims);
    // From key to key, as the others iterate: fewer rounds, because it takes seconds.
    const walking = { "ours, loop over entries": reading["ours, loop over entries"], ...others("keys") };
    await measure(report, "the same as a loop, each", walking, ENTRIES, 3, {});
    const records = {
      "ours, callback": { peer: own(), word: "ring" },
      "ours, objects of 8 numbers through BTF": { peer: own(), word: "numbers" },
      "ours, objects of 8 bigints through BTF": { peer: own(), word: "bigints" },
      ...others("ring"),
    };
    const wanted = {
      "ours, callback": "<= 2x, cilium / 2",
      "ours, objects of 8 numbers through BTF": "< cilium",
    };
    await measure(report, "ring buffer, 64-byte record", records, RECORDS, 11, wanted);
  } finally {
    for (const peer of started) peer.close();
  }
}

async function measure(
  report: Report,
  what: string,
  contestants: Contestants,
  count: number,
  rounds: number,
  aims: { readonly [name: string]: string },
): Promise<void> {
  let wanted: string | undefined;
  let memory = 0;
  const candidates = Object.fromEntries(
    Object.entries(contestants).map(([name, { peer, word }]) => [
      name,
      async () => {
        const [nanoseconds, sum, resident] = await peer.ask(`${word} ${count}`);
        wanted ??= sum;
        if (sum !== wanted) throw new Error(`${what}: ${name} came to ${sum}, others to ${wanted}`);
        memory = Math.max(memory, Number(resident ?? 0));
        return Number(nanoseconds) / count;
      },
    ]),
  );
  const base = Object.keys(candidates).find((name) => !name.startsWith("ours")) ?? Object.keys(candidates)[0]!;
  const result = await compare(candidates, base, { rounds, warmup: 3 });
  for (const name of Object.keys(candidates)) {
    const aim = aims[name];
    report({
      name: `${what}: ${name}`,
      value: result.median[name]!,
      unit: "ns",
      ...(name === base ? {} : { peer: base, peerValue: result.median[base]!, ratio: result.ratio[name]! }),
      ...(aim === undefined ? {} : { aim }),
    });
  }
  if (count !== CALLS) report({ name: `${what}: memory of ours meanwhile`, value: memory / 2 ** 20, unit: "MiB" });
}
