import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import { attachNetfilter, attachNetns, queryAttached } from "../../src/links/index.ts";
import { programId } from "../../src/links/occupant.ts";
import { openTarget } from "../../src/links/targets.ts";
import type { BpfMap } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { kernelOlderThan, openBackend } from "../../src/syscall/index.ts";
import { failOnLeaks, type Register, requires, skip } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";
import {
  bindTo,
  inNewNetwork,
  jsonOf,
  makeVeth,
  receiveAll,
  sendFrames,
  sendPackets,
  tool,
  udpSocket,
} from "./network.ts";

const test = suite("links of network namespaces");
failOnLeaks(test);
const kernel = requires(test, "bpf", "net-admin", "sys-admin", "koffi", "tool:ip", "tool:bpftool");

const netfilter: Register = kernelOlderThan(6, 6) ? (name) => skip(test, name, "needs Linux 6.6") : kernel;

const SK_PASS = 1;
const NF_ACCEPT = 1;
const NF_DROP = 0;

function load(
  type: "sk_lookup" | "flow_dissector" | "netfilter",
  map: BpfMap<number, bigint>,
  result: number,
): Program {
  return loadProgram({
    type,
    expectedAttachType: type,
    instructions: counting(map, result),
    license: "GPL",
    name: "p",
  });
}

function fails(run: () => unknown, code: string, message: RegExp): void {
  assert.throws(run, (error: BpfError) => {
    assert.is(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

kernel("a sk_lookup program counts packets for no socket yet, while it is attached", () => {
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    using map = counter();
    using loaded = load("sk_lookup", map, SK_PASS);
    {
      using link = attachNetns(loaded);
      assert.is(link.target, "sk_lookup of this network namespace");
      const info = link.info();
      assert.ok(info.type === "netns" && info.attachType === "sk_lookup");
      using receiver = udpSocket();
      bindTo(receiver, "127.0.0.1", 5001);
      sendPackets(3, "127.0.0.1", 5001);
      assert.equal([map.get(0), receiveAll(receiver)], [3n, 3]);
      assert.equal(queryAttached({ namespace: "own" }, "sk_lookup").programs, [
        { programId: programId(loaded.owner), linkId: 0, flags: 0 },
      ]);
      assert.ok(jsonOf("bpftool", "link", "show").some(({ id }: { id: number }) => id === link.id));
      using second = load("sk_lookup", map, SK_PASS);
      link.update(second, { expected: loaded });
      assert.is(queryAttached({ namespace: "own" }, "sk_lookup").programs[0]!.programId, programId(second.owner));
    }
    sendPackets(3, "127.0.0.1", 5001);
    assert.is(map.get(0), 3n);
    assert.equal(queryAttached({ namespace: { pid: process.pid } }, "sk_lookup").programs, []);
  });
});

kernel("another namespace: by descriptor, process and path", () => {
  using map = counter();
  using loaded = load("sk_lookup", map, SK_PASS);
  const other = inNewNetwork(() => openTarget(openBackend(), "/proc/thread-self/ns/net", "namespace"));
  try {
    for (const target of [{ fd: other.number }, { path: `/proc/self/fd/${other.number}` }]) {
      using _link = attachNetns(loaded, target);
      assert.is(queryAttached({ namespace: target }, "sk_lookup").programs.length, 1);
      assert.is(queryAttached({ namespace: { pid: process.pid } }, "sk_lookup").programs.length, 0);
    }
  } finally {
    other.close();
  }
  fails(
    () => attachNetns(loaded, { path: "/run/netns/none" }),
    "ERR_ATTACH_TARGET",
    /no network namespace \/run\/netns\/none/,
  );
  for (const path of ["/proc/self/ns/mnt", "/dev/null", "/"]) {
    fails(() => attachNetns(loaded, { path }), "ERR_ATTACH_TARGET", /it is no network namespace$/);
  }
});

for (const link of [true, false]) {
  kernel(`a flow_dissector is attached, seen and replaced, ${link ? "with" : "without"} a link`, () => {
    inNewNetwork(() => {
      makeVeth();
      using map = counter();
      using loaded = load("flow_dissector", map, 0);
      using attached = attachNetns(loaded, "own", { link });
      assert.is(attached.type, link ? "netns" : undefined);
      assert.is(queryAttached({ namespace: "own" }, "flow_dissector").programs[0]!.programId, programId(loaded.owner));
      // Its JSON is none here.
      assert.match(tool("bpftool", "net", "show"), new RegExp(`flow_dissector:\\s+id ${programId(loaded.owner)}\\b`));
      tool("ip", "link", "add", "br0", "type", "bridge");
      using other = load("flow_dissector", map, 0);
      fails(() => attachNetns(other, "own", { link: true }), link ? "E2BIG" : "EEXIST", /has a flow dissector already/);
      if (!link) {
        attached.update(other);
        assert.is(queryAttached({ namespace: "own" }, "flow_dissector").programs[0]!.programId, programId(other.owner));
      }
      attached.close();
      assert.equal(queryAttached({ namespace: "own" }, "flow_dissector").programs, []);
    });
  });
}

kernel("a flow_dissector counts the frames that are sent past the protocols, while it is attached", () => {
  // The packet is dissected further by the kernel; or is refused, which only whoever asked for it sees.
  const BPF_FLOW_DISSECTOR_CONTINUE = 129;
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using loaded = load("flow_dissector", map, BPF_FLOW_DISSECTOR_CONTINUE);
    using replaced = counter();
    using other = load("flow_dissector", replaced, BPF_FLOW_DISSECTOR_CONTINUE);
    for (const link of [true, false]) {
      const before = [map.get(0)!, replaced.get(0)!] as const;
      using attached = attachNetns(loaded, "own", { link });
      sendFrames(3, "v0", "v1");
      const first = map.get(0)!;
      assert.ok(first >= before[0] + 3n, `${first}`);
      attached.update(other);
      sendFrames(3, "v0", "v1");
      assert.is(map.get(0), first);
      const second = replaced.get(0)!;
      assert.ok(second >= before[1] + 3n, `${second}`);
      attached.close();
      sendFrames(3, "v0", "v1");
      assert.equal([map.get(0), replaced.get(0)], [first, second]);
    }
  });
});

kernel("without a link only a flow_dissector of the own namespace", () => {
  using map = counter();
  using loaded = load("sk_lookup", map, SK_PASS);
  fails(
    () => attachNetns(loaded, "own", { link: false }),
    "ERR_ATTACH_TARGET",
    /without a link\nHint: only a flow_dissector/,
  );
});

netfilter("netfilter programs count, decide, and stand in the order of their priorities", () => {
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    using map = counter();
    using dropped = counter();
    using loaded = load("netfilter", map, NF_ACCEPT);
    using drop = load("netfilter", dropped, NF_DROP);
    using receiver = udpSocket();
    bindTo(receiver, "127.0.0.1", 5002);
    {
      using link = attachNetfilter(loaded, { family: "ipv4", hook: "input", priority: -5, defragment: true });
      const { id: _id, programId: _programId, ...info } = link.info();
      assert.equal(info, { type: "netfilter", family: 2, hook: 1, priority: -5, flags: 1 });
      sendPackets(4, "127.0.0.1", 5002);
      assert.equal([map.get(0), receiveAll(receiver)], [4n, 4]);
      {
        using _second = attachNetfilter(drop, { family: "ipv4", hook: "input", priority: -6 });
        sendPackets(2, "127.0.0.1", 5002);
        assert.equal([map.get(0), dropped.get(0), receiveAll(receiver)], [4n, 2n, 0]);
        const shown = jsonOf("bpftool", "net", "show")[0].netfilter ?? [];
        if (shown.length > 0) assert.is(shown.length, 2);
      }
      fails(
        () => attachNetfilter(drop, { family: "ipv4", hook: "input", priority: -5 }),
        "EBUSY",
        /^Cannot attach program "p" to netfilter ipv4 input with priority -5: EBUSY, another BPF program has this priority at this hook$/,
      );
      attachNetfilter(drop, { family: "ipv6", hook: "input", priority: -5 }).close();
    }
    sendPackets(4, "127.0.0.1", 5002);
    assert.equal([map.get(0), receiveAll(receiver)], [4n, 4]);
  });
});

netfilter("places that netfilter does not have are refused before any call", () => {
  using map = counter();
  using loaded = load("netfilter", map, NF_ACCEPT);
  const target = { family: "ipv4", hook: "input" } as const;
  for (const priority of [-(2 ** 31), 2 ** 31 - 1, 0.5, Number.NaN]) {
    assert.throws(() => attachNetfilter(loaded, { ...target, priority }), /The priority of a netfilter program is/);
  }
  assert.throws(() => attachNetfilter(loaded, { ...target, priority: -400, defragment: true }), /above -400/);
  assert.throws(
    () => attachNetfilter(loaded, { ...target, hook: "ingress" as "input" }),
    /"ingress" is no hook: prerouting/,
  );
  assert.throws(() => attachNetfilter(loaded, { ...target, family: "arp" as "ipv4" }), /"arp" is no family/);
  using other = load("sk_lookup", map, SK_PASS);
  fails(() => attachNetfilter(other, target), "ERR_TYPE_MISMATCH", /it is a sk_lookup program, wanted netfilter/);
});

test.run();
