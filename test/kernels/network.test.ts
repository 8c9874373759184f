import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import { NotSupportedError } from "../../src/errors.ts";
import type { AttachType, ProgType } from "../../src/kernel-abi/index.ts";
import {
  attachCgroup,
  attachLwt,
  attachNetfilter,
  attachNetkit,
  attachNetns,
  attachSockmap,
  attachTc,
  attachTcx,
  attachXdp,
  CGROUP_ATTACH_TYPES,
  type Link,
  queryAttached,
} from "../../src/links/index.ts";
import { createMap, u32 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { counter, counting } from "../links/counter.ts";
import {
  assertTriggered,
  bindTo,
  inNewNetwork,
  makeVeth,
  sendFrames,
  sendPackets,
  sendUdp,
  talk,
  tcpPair,
  tool,
  triggerIn,
  udpSocket,
  withCgroup,
} from "../links/network.ts";
import { withSockmap } from "../links/sockmap.ts";
import { failOnLeaks, repository } from "../support/harness.ts";
import { changes, counts, features, sameAsBpftool } from "./feature.ts";

const test = suite("networks under other kernels");
failOnLeaks(test);
const feature = features(test);

const XDP_PASS = 2;
const NEXT = -1;

function withVeth(run: () => void): void {
  inNewNetwork(() => {
    makeVeth();
    run();
  });
}

const ALL = { update: true, detach: true };

const send = (): void => sendPackets(3);

for (const mode of ["generic", "driver"] as const) {
  feature(`xdp, ${mode}`, [], () =>
    withVeth(() => {
      counts({ type: "xdp", result: XDP_PASS }, (program) => attachXdp(program, "v1", { mode }), send);
      counts({ type: "xdp", result: XDP_PASS }, (program) => attachXdp(program, "v1", { mode, link: false }), send);
      changes({ type: "xdp", result: XDP_PASS }, (program) => attachXdp(program, "v1", { mode }), send, ALL);
    }),
  );
}
feature("tc (clsact)", [], () =>
  withVeth(() => {
    const spec = { type: "sched_cls", result: NEXT } as const;
    counts(spec, (program) => attachTc(program, "v1", { direction: "ingress" }), send);
    counts(spec, (program) => attachTc(program, "v0", { direction: "egress" }), send);
  }),
);
feature("tcx, ordered", ["6.1"], () =>
  withVeth(() => {
    using idle = loadProgram({ type: "sched_cls", instructions: [mov(r0, NEXT), exit()], name: "idle" });
    using other = attachTcx(idle, "v1", { direction: "ingress" });
    for (const order of ["first", { before: other }, { after: idle }] as const) {
      counts(
        { type: "sched_cls", result: NEXT },
        (program) => attachTcx(program, "v1", { direction: "ingress", order }),
        send,
        (link) => {
          const ids = queryAttached({ interface: "v1" }, "tcx_ingress").programs.map((one) => one.linkId);
          assert.equal(ids, typeof order === "object" && "after" in order ? [other.id, link.id] : [link.id, other.id]);
        },
      );
    }
    using next = loadProgram({ type: "sched_cls", instructions: [mov(r0, NEXT), exit()], name: "next" });
    other.update(next, { expected: idle });
    other.detach();
    for (const [name, direction] of [
      ["v1", "ingress"],
      ["v0", "egress"],
    ] as const) {
      changes({ type: "sched_cls", result: NEXT }, (program) => attachTcx(program, name, { direction }), send, ALL);
    }
    assert.equal(queryAttached({ interface: "v1" }, "tcx_ingress").programs, []);
  }),
);
feature("netkit", ["6.1"], () =>
  inNewNetwork(() => {
    // The kernel gives its peer a name.
    const made = spawnSync("ip", ["link", "add", "first", "type", "netkit"], { encoding: "utf8" });
    if (made.status !== 0) throw new NotSupportedError("A netkit device", { cause: made.stderr });
    tool("ip", "link", "set", "first", "up");
    const peer = / (nk\d+)@first/.exec(tool("ip", "-o", "link", "show"))![1]!;
    tool("ip", "link", "set", peer, "up");
    tool("ip", "address", "add", "10.77.0.1/24", "dev", "first");
    for (const side of ["primary", "peer"] as const) {
      const spec = { type: "sched_cls", result: NEXT } as const;
      const attach = (program: Program): Link => attachNetkit(program, "first", { side });
      const act = side === "primary" ? send : (): void => sendFrames(3, peer, "first");
      counts(spec, attach, act);
      changes(spec, attach, act, ALL);
    }
  }),
);

const toSelf = (): void => {
  using receiver = udpSocket();
  bindTo(receiver, "127.0.0.1", 4444);
  using sender = udpSocket();
  sendUdp(sender, "127.0.0.1", 4444);
};

feature("netfilter", ["6.1"], () =>
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    const NF_ACCEPT = 1;
    counts(
      { type: "netfilter", expectedAttachType: "netfilter", result: NF_ACCEPT },
      (program) => attachNetfilter(program, { family: "ipv4", hook: "input", priority: -128 }),
      toSelf,
    );
    changes(
      { type: "netfilter", expectedAttachType: "netfilter", result: NF_ACCEPT },
      (program) => attachNetfilter(program, { family: "ipv4", hook: "input", priority: -128 }),
      toSelf,
      { update: false, detach: true },
    );
  }),
);
feature("sk_lookup", [], () =>
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    const SK_PASS = 1;
    const spec = { type: "sk_lookup", expectedAttachType: "sk_lookup", result: SK_PASS } as const;
    counts(spec, (program) => attachNetns(program), toSelf);
    changes(spec, (program) => attachNetns(program), toSelf, ALL);
  }),
);
feature("flow_dissector", [], () =>
  withVeth(() => {
    const BPF_FLOW_DISSECTOR_CONTINUE = 129;
    const spec = { type: "flow_dissector", result: BPF_FLOW_DISSECTOR_CONTINUE } as const;
    const sendRaw = (): void => sendFrames(3, "v0", "v1");
    counts(
      spec,
      (program) => attachNetns(program),
      sendRaw,
      () => {
        assert.is(queryAttached({ namespace: "own" }, "flow_dissector").programs.length, 1);
      },
    );
    counts(spec, (program) => attachNetns(program, "own", { link: false }), sendRaw);
    changes(spec, (program) => attachNetns(program), sendRaw, ALL);
    assert.is(queryAttached({ namespace: "own" }, "flow_dissector").programs.length, 0);
  }),
);
for (const type of ["lwt_in", "lwt_out", "lwt_xmit"] as const) {
  feature(type, [], () =>
    withVeth(() => {
      tool("ip", "neigh", "add", "10.78.0.5", "lladdr", "02:00:00:00:00:01", "dev", "v0");
      // Where it goes without the route with a program.
      tool("ip", "route", "add", "10.0.0.0/8", "dev", "v0");
      writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
      for (const name of ["all", "v1"]) writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, "0");
      counts(
        { type },
        (program) => attachLwt(program, { destination: "10.78.0.0/16", interface: "v0" }),
        () => (type === "lwt_in" ? sendFrames(3, "v0", "v1", "10.78.0.5") : sendPackets(3, "10.78.0.5")),
      );
    }),
  );
}
function onSockmap(link: boolean): void {
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    const parser = ["sk_skb", "sk_skb_stream_parser"] as const;
    const verdict = ["sk_skb", "sk_skb_stream_verdict"] as const;
    const message = ["sk_msg", "sk_msg_verdict"] as const;
    for (const [attached, expected] of [
      [[verdict], [1n]],
      [[["sk_skb", "sk_skb_verdict"]], [1n]],
      [[message], [1n]],
      [
        [parser, verdict, message],
        [2n, 2n, 1n],
      ],
    ] as const) {
      withSockmap(link, attached, (counts, exchange, links) => {
        exchange();
        assert.equal(counts(), expected);
        // Where there are no links of this kind, it has none.
        for (const one of links) if (link) sameAsBpftool(one);
      });
    }
  });
}
feature("sockmap", [], () => onSockmap(false));
feature("sockmap by a link", ["6.1"], () => {
  onSockmap(true);
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    using map = createMap({ type: "sockmap", key: u32, value: u32, maxEntries: 1 });
    const SK_PASS = 1;
    changes(
      { type: "sk_msg", expectedAttachType: "sk_msg_verdict", result: SK_PASS },
      (program) => attachSockmap(program, map),
      () => {
        const { client, server } = tcpPair();
        map.set(0, client.number);
        talk(client, server, 10);
        client.close();
        server.close();
      },
      ALL,
    );
  });
});

// Compiled before the machine starts, which has no compiler.
const trigger = join(repository, ".build/test/kernels/trigger");

const kinds = (Object.entries(CGROUP_ATTACH_TYPES) as [ProgType, readonly AttachType[]][]).flatMap(
  ([type, attachTypes]) => attachTypes.map((attachType) => ({ type, attachType })),
);

for (const { type, attachType } of kinds) {
  // Its programs are loaded for a hook: one of functions.test.ts.
  if (type === "lsm") continue;
  feature(attachType, attachType.startsWith("cgroup_unix") ? ["6.1"] : [], () =>
    withCgroup((path) => {
      const spec = { type, expectedAttachType: attachType, license: "GPL" } as const;
      {
        using map = counter();
        using program = loadProgram({ ...spec, instructions: counting(map, 1) });
        {
          using link = attachCgroup(program, path);
          triggerIn(path, trigger, attachType);
          assertTriggered(map.get(0)!, attachType);
          if (link.type !== undefined) sameAsBpftool(link);
          assert.equal(
            queryAttached({ cgroup: path }, attachType).programs.map((one) => one.programId),
            [link.info().programId],
          );
        }
        const counted = map.get(0);
        triggerIn(path, trigger, attachType);
        assert.is(map.get(0), counted, "ran after it was detached");
        for (const sharing of ["multi", "override", "exclusive"] as const) {
          const before = map.get(0)!;
          using _link = attachCgroup(program, path, { link: false, sharing });
          assert.is(queryAttached({ cgroup: path }, attachType).programs.length, 1);
          triggerIn(path, trigger, attachType);
          assertTriggered(map.get(0)! - before, attachType);
        }
      }
      changes(
        { ...spec, result: 1 },
        (program) => attachCgroup(program, path),
        () => triggerIn(path, trigger, attachType),
        { update: true, detach: true },
      );
      assert.equal(queryAttached({ cgroup: path }, attachType).programs, []);
    }),
  );
}
// Of 6.16, and in the later releases of 6.12.
feature("cgroup order", ["6.1"], () =>
  withCgroup((path) => {
    const spec = {
      type: "cgroup_skb",
      expectedAttachType: "cgroup_inet_egress",
      instructions: [mov(r0, 1), exit()],
    } as const;
    using one = loadProgram({ ...spec, license: "GPL" });
    using two = loadProgram({ ...spec, license: "GPL" });
    using first = attachCgroup(one, path);
    using second = attachCgroup(two, path, { order: { before: first } });
    const { programs, revision } = queryAttached({ cgroup: path }, "cgroup_inet_egress");
    assert.equal(
      programs.map((program) => program.programId),
      [second, first].map((link) => link.info().programId),
    );
    assert.ok(revision > 0n);
  }),
);

test.run();
