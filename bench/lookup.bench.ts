import { fileURLToPath } from "node:url";
import { fetchedRuntimes } from "../scripts/runtimes.ts";
import { adapters } from "../src/syscall/index.ts";
import { buildPlainPeer } from "./build-peer.ts";
import { type Peer, startPeer } from "./peer/peer.ts";
import { compare, type Report, short } from "./report.ts";

const COUNT = short ? 20_000 : 100_000;

/** Adapters that live in another runtime, measured where it is fetched. */
const OTHERS: readonly (readonly [runtime: string, flags: readonly string[], adapter: string])[] = [
  ["node26", [], "koffi"],
  ["node26", [], "node:ffi"],
  ["bun", [], "bun:ffi"],
  ["deno", ["run", "--allow-all"], "deno"],
];

/**
 * One `bpf()` map lookup (4-byte key, 8-byte value) through each adapter that can be used here, against the same in C.
 * Every contestant is a process of its own that is asked for slices in random order; CPU time of the process.
 */
export async function run(report: Report): Promise<void> {
  const compiled = buildPlainPeer("bench/peer/peer.c");
  const peers: Record<string, Peer> = {};
  if (compiled !== undefined) peers["plain C"] = startPeer(compiled, []);
  const child = fileURLToPath(new URL("./peer/lookup.js", import.meta.url));
  for (const adapter of adapters) {
    if (adapter.unavailable() !== undefined) continue;
    peers[`${adapter.name}, raw`] = startPeer(process.execPath, [child, adapter.name, "raw"]);
    peers[`${adapter.name}, map.get`] = startPeer(process.execPath, [child, adapter.name, "map"]);
  }
  for (const [name, flags, adapter] of OTHERS) {
    const runtime = fetchedRuntimes().find((candidate) => candidate.name === name);
    if (runtime === undefined) continue;
    peers[`${adapter} on ${name}, raw`] = startPeer(runtime.path, [...flags, child, adapter, "raw"]);
  }
  try {
    for (const type of ["hash", "array"]) {
      const candidates = Object.fromEntries(
        Object.entries(peers).map(([name, peer]) => [
          name,
          // ffi-napi is fifty times slower: a smaller slice will do.
          async () => {
            const count = name.startsWith("ffi-napi") ? COUNT / 20 : COUNT;
            return Number((await peer.ask(`lookup ${type} ${count}`))[0]) / count;
          },
        ]),
      );
      const base = compiled === undefined ? Object.keys(candidates)[0]! : "plain C";
      const result = await compare(candidates, base, { rounds: 9 });
      for (const name of Object.keys(candidates)) {
        const aim = name === "koffi, raw" ? { aim: "<= 1.2x" } : {};
        report({
          name: `map lookup, ${type}: ${name}`,
          value: result.median[name]!,
          unit: "ns",
          ...(name === base ? {} : { peer: base, peerValue: result.median[base]!, ratio: result.ratio[name]!, ...aim }),
        });
      }
    }
  } finally {
    for (const peer of Object.values(peers)) peer.close();
  }
}
