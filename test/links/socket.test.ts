import { createSocket } from "node:dgram";
import { type EventEmitter, once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, program, r0 } from "../../src/asm/index.ts";
import type { BpfError } from "../../src/errors.ts";
import {
  attachReuseport,
  attachSocketFilter,
  attachSockmap,
  queryAttached,
  socketDescriptor,
} from "../../src/links/index.ts";
import { programId } from "../../src/links/occupant.ts";
import { type BpfMap, createMap, u32, u64 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { call, keepAlive, kernelBuffer } from "../../src/syscall/call.ts";
import { kernelOlderThan, openBackend } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";
import { bindTo, inNewNetwork, jsonOf, receiveAll, sendPackets, system, tool, udpSocket } from "./network.ts";
import { withSockmap } from "./sockmap.ts";

const test = suite("programs of sockets");
failOnLeaks(test);
const kernel = requires(test, "bpf", "net-admin", "sys-admin", "koffi", "tool:ip", "tool:bpftool");

const ALL_BYTES = 0xffff;
const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;

/** Waits for an event, and not for ever: an open server would keep the test from ending. */
function happens(emitter: EventEmitter, event: string): Promise<unknown[]> {
  return once(emitter, event, { signal: AbortSignal.timeout(5000) });
}

function filter(map: BpfMap<number, bigint>, result = ALL_BYTES): Program {
  return loadProgram({ type: "socket_filter", instructions: counting(map, result), license: "GPL", name: "p" });
}

kernel("a socket filter decides what arrives, while it is attached", () => {
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    using map = counter();
    using all = filter(map);
    using none = filter(map, 0);
    using receiver = udpSocket();
    bindTo(receiver, "127.0.0.1", 5003);
    {
      using link = attachSocketFilter(all, receiver.number);
      sendPackets(3, "127.0.0.1", 5003);
      assert.equal([map.get(0), receiveAll(receiver)], [3n, 3]);
      link.update(none);
      sendPackets(3, "127.0.0.1", 5003);
      assert.equal([map.get(0), receiveAll(receiver)], [6n, 0]);
    }
    sendPackets(3, "127.0.0.1", 5003);
    assert.equal([map.get(0), receiveAll(receiver)], [6n, 3]);
  });
});

kernel("closing the attachment leaves another socket with the same number alone", () => {
  using map = counter();
  using loaded = filter(map);
  const first = udpSocket();
  const { number } = first;
  const link = attachSocketFilter(loaded, number);
  first.close();
  using second = udpSocket();
  assert.is(second.number, number);
  using other = attachSocketFilter(loaded, second.number);
  link.close();
  // The second one's filter is there still: it can be taken away, and only once.
  const SO_DETACH_FILTER = 27;
  const value = kernelBuffer(4);
  const backend = openBackend();
  const args = [number, SOL_SOCKET, SO_DETACH_FILTER, backend.addressOf(value), 4];
  assert.is(
    call(backend, "setsockopt", args, () => ({})),
    0,
  );
  assert.ok(call(backend, "setsockopt", args, () => ({})) < 0);
  other.close();
});

kernel("sockets of Node: servers, connections and datagrams", async () => {
  using map = counter();
  using loaded = filter(map);
  const server: Server = createServer((peer) => peer.end("hello"));
  const datagram = createSocket("udp4");
  try {
    await happens(server.listen(0, "127.0.0.1"), "listening");
    using serving = attachSocketFilter(loaded, server);
    const client = connect((server.address() as { port: number }).port, "127.0.0.1");
    await happens(client, "connect");
    using connected = attachSocketFilter(loaded, client);
    client.resume();
    await happens(client, "close");
    assert.ok(map.get(0)! >= 2n);
    assert.throws(() => socketDescriptor(client), /This socket has no descriptor/);
    assert.throws(() => socketDescriptor(createSocket), /This socket has no descriptor/);
    datagram.bind(0, "127.0.0.1");
    await happens(datagram, "listening");
    const counted = map.get(0)!;
    using receiving = attachSocketFilter(loaded, datagram);
    const arrived = happens(datagram, "message");
    datagram.send("x", datagram.address().port, "127.0.0.1");
    await arrived;
    assert.is(map.get(0), counted + 1n);
    for (const link of [serving, connected, receiving]) link.close();
  } finally {
    server.close();
    datagram.close();
  }
});

kernel("a reuseport program chooses for its group", () => {
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    const backend = openBackend();
    const one = kernelBuffer(4);
    one[0] = 1;
    const sockets = [0, 1].map(() => {
      const socket = udpSocket();
      system("setsockopt", socket.number, SOL_SOCKET, SO_REUSEPORT, backend.addressOf(one), 4);
      bindTo(socket, "127.0.0.1", 5004);
      return socket;
    });
    keepAlive(one);
    using map = counter();
    // The returned number is that of the socket in the group.
    using second = filter(map, 1);
    using chooser = loadProgram({
      type: "sk_reuseport",
      expectedAttachType: "sk_reuseport_select",
      instructions: counting(map, 0),
      license: "GPL",
      name: "p",
    });
    {
      using link = attachReuseport(second, sockets[0]!.number);
      sendPackets(5, "127.0.0.1", 5004);
      assert.equal([map.get(0), ...sockets.map(receiveAll)], [5n, 0, 5]);
      link.update(chooser);
      // 0 is SK_DROP.
      sendPackets(5, "127.0.0.1", 5004);
      assert.equal([map.get(0), ...sockets.map(receiveAll)], [10n, 0, 0]);
    }
    sendPackets(5, "127.0.0.1", 5004);
    assert.is(map.get(0), 10n);
    using alone = udpSocket();
    bindTo(alone, "127.0.0.1", 5005);
    assert.throws(
      () => attachReuseport(second, alone.number),
      (error: BpfError) => error.code === "EINVAL" && /opened without SO_REUSEPORT/.test(error.message),
    );
    for (const socket of sockets) socket.close();
  });
});

kernel("errors say what is wrong", () => {
  using map = counter();
  using loaded = filter(map);
  assert.throws(() => attachSocketFilter(loaded, map.fd), /ENOTSOCK, this descriptor is no socket/);
  assert.throws(() => attachSocketFilter(loaded, -1), /This socket has no descriptor/);
  assert.throws(() => attachSocketFilter(loaded, {}), /This socket has no descriptor/);
  using xdp = loadProgram({ type: "xdp", instructions: [mov(r0, 2), exit()] });
  assert.throws(() => attachSocketFilter(xdp, 3), /it is a xdp program, wanted socket_filter/);
});

for (const link of kernelOlderThan(6, 10) ? [false] : [true, false]) {
  kernel(`programs of a map of sockets, ${link ? "with" : "without"} links`, async () => {
    using map = counter();
    using messages = counter();
    using sockets = createMap({ type: "sockhash", key: u32, value: u64, maxEntries: 4 });
    using verdict = loadProgram({
      type: "sk_skb",
      expectedAttachType: "sk_skb_stream_verdict",
      instructions: counting(map, 1),
      license: "GPL",
    });
    using parser = loadProgram({
      type: "sk_skb",
      expectedAttachType: "sk_skb_stream_parser",
      instructions: counting(map, 5),
      license: "GPL",
    });
    using message = loadProgram({ type: "sk_msg", instructions: counting(messages, 1), license: "GPL", name: "m" });
    const links = [
      attachSockmap(verdict, sockets, { link }),
      attachSockmap(parser, sockets, { link }),
      attachSockmap(message, sockets, { link }),
    ];
    const server = createServer((peer) => peer.write("hello"));
    try {
      assert.equal(
        links.map(({ type }) => type),
        link ? ["sockmap", "sockmap", "sockmap"] : [undefined, undefined, undefined],
      );
      assert.equal(queryAttached({ map: sockets }, "sk_msg_verdict").programs, [
        { programId: programId(message.owner), linkId: 0, flags: 0 },
      ]);
      await happens(server.listen(0, "127.0.0.1"), "listening");
      const client = connect((server.address() as { port: number }).port, "127.0.0.1");
      await happens(client, "connect");
      sockets.set(1, BigInt(socketDescriptor(client)));
      const [data] = await happens(client, "data");
      assert.is(String(data), "hello");
      client.write("back");
      for (let tries = 0; tries < 100 && messages.get(0) === 0n; tries++)
        await new Promise((done) => setTimeout(done, 5));
      assert.is(messages.get(0), 1n);
      client.destroy();
      using again = loadProgram({ type: "sk_msg", instructions: counting(messages, 1), license: "GPL", name: "n" });
      if (link) assert.throws(() => attachSockmap(again, sockets), /EBUSY, the map has such a program already/);
      links[2]!.update(again);
      assert.is(queryAttached({ map: sockets }, "sk_msg_verdict").programs[0]!.programId, programId(again.owner));
      if (link) assert.ok(jsonOf("bpftool", "link", "show").some(({ id }: { id: number }) => id === links[0]!.id));
    } finally {
      server.close();
      for (const one of links) one.close();
    }
    for (const attachType of ["sk_msg_verdict", "sk_skb_stream_parser", "sk_skb_stream_verdict"] as const) {
      assert.equal(queryAttached({ map: sockets }, attachType).programs, []);
    }
  });
}

for (const link of kernelOlderThan(6, 10) ? [false] : [true, false]) {
  const how = link ? "by a link" : "without a link";
  for (const attachType of ["sk_skb_stream_verdict", "sk_skb_verdict", "sk_msg_verdict"] as const) {
    kernel(`${attachType} counts what the sockets of a map get or send, ${how}`, () =>
      inNewNetwork(() => {
        tool("ip", "link", "set", "lo", "up");
        withSockmap(link, [[attachType === "sk_msg_verdict" ? "sk_msg" : "sk_skb", attachType]], (counts, exchange) => {
          exchange();
          assert.equal(counts(), [1n]);
          exchange();
          assert.equal(counts(), [2n]);
        });
      }),
    );
  }
  kernel(`sk_skb_stream_parser counts messages, and the verdict each that it finds, ${how}`, () =>
    inNewNetwork(() => {
      tool("ip", "link", "set", "lo", "up");
      const kinds = [
        ["sk_skb", "sk_skb_stream_parser"],
        ["sk_skb", "sk_skb_stream_verdict"],
        ["sk_msg", "sk_msg_verdict"],
      ] as const;
      withSockmap(link, kinds, (counts, exchange) => {
        // 10 bytes are two messages of 5.
        exchange();
        assert.equal(counts(), [2n, 2n, 1n]);
      });
    }),
  );
}

kernel("maps of other types, and programs without an attach type, are refused", () => {
  using map = counter();
  using bare = loadProgram({ type: "sk_skb", instructions: program(mov(r0, 1), exit()), name: "p" });
  assert.throws(() => attachSockmap(bare, map), /needs an attach type: sk_skb_stream_parser, /);
  assert.throws(() => attachSockmap(bare, map, { attachType: "sk_msg_verdict" }), /it is of type sk_skb/);
  assert.throws(
    () => attachSockmap(bare, map, { attachType: "sk_skb_verdict" }),
    (error: BpfError) => {
      assert.match(error.message, /^Cannot attach program "p" to sk_skb_verdict of map "count": /);
      return error.code !== "EINVAL" || / EINVAL, ./.test(error.message);
    },
  );
});

test.run();
