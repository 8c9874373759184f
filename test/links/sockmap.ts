import * as assert from "uvu/assert";
import type { AttachType } from "../../src/kernel-abi/index.ts";
import { attachSockmap, type Link } from "../../src/links/index.ts";
import { createMap, u32 } from "../../src/maps/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { counter, counting } from "./counter.ts";
import { talk, tcpPair } from "./network.ts";

/** Does something with programs of a map of sockets that count, each by itself, and with a connection made for it. */
export function withSockmap(
  link: boolean,
  kinds: readonly (readonly ["sk_skb" | "sk_msg", AttachType])[],
  run: (counts: () => bigint[], exchange: () => void, links: readonly Link[]) => void,
): void {
  const PASS_OR_LENGTH = { sk_skb_stream_parser: 5 } as { readonly [attachType: string]: number };
  using sockets = createMap({ type: "sockmap", key: u32, value: u32, maxEntries: 1 });
  const maps = kinds.map(() => counter());
  const programs = kinds.map(([type, expectedAttachType], i) => {
    const instructions = counting(maps[i]!, PASS_OR_LENGTH[expectedAttachType] ?? 1);
    return loadProgram({ type, expectedAttachType, instructions, license: "GPL", name: "p" });
  });
  const links = programs.map((one) => attachSockmap(one, sockets, { link }));
  const exchange = (): void => {
    const { client, server } = tcpPair();
    try {
      sockets.set(0, client.number);
      talk(server, client, 10);
      talk(client, server, 10);
    } finally {
      client.close();
      server.close();
    }
  };
  try {
    const counts = (): bigint[] => maps.map((map) => map.get(0)!);
    run(counts, exchange, links);
    for (const one of links) one.close();
    const before = counts();
    exchange();
    assert.equal(counts(), before, "detached");
  } finally {
    for (const one of [...links, ...programs, ...maps]) one.close();
  }
}
