import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import { NotSupportedError } from "../../src/errors.ts";
import type { AttachType, ProgType } from "../../src/kernel-abi/index.ts";
import {
  attachCgroup,
  attachNetfilter,
  attachNetkit,
  attachNetns,
  attachSockmap,
  attachTc,
  attachTcx,
  attachXdp,
  queryAttached,
} from "../../src/links/index.ts";
import { createMap, u32 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import {
  bindTo,
  inNewNetwork,
  inside,
  makeVeth,
  sendPackets,
  sendUdp,
  tool,
  udpSocket,
  withCgroup,
} from "../links/network.ts";
import { failOnLeaks } from "../support/harness.ts";
import { counts, features, sameAsBpftool } from "./feature.ts";

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

const send = (): void => sendPackets(3);

for (const mode of ["generic", "driver"] as const) {
  feature(`xdp, ${mode}`, [], () =>
    withVeth(() => {
      counts({ type: "xdp", result: XDP_PASS }, (program) => attachXdp(program, "v1", { mode }), send);
      counts({ type: "xdp", result: XDP_PASS }, (program) => attachXdp(program, "v1", { mode, link: false }), send);
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
    assert.equal(queryAttached({ interface: "v1" }, "tcx_ingress").programs, []);
  }),
);
feature("netkit", ["6.1"], () =>
  inNewNetwork(() => {
    // The kernel gives its peer a name.
    const made = spawnSync("ip", ["link", "add", "first", "type", "netkit"], { encoding: "utf8" });
    if (made.status !== 0) throw new NotSupportedError("A netkit device", { cause: made.stderr });
    tool("ip", "link", "set", "first", "up");
    tool("ip", "link", "set", / (nk\d+)@first/.exec(tool("ip", "-o", "link", "show"))![1]!, "up");
    tool("ip", "address", "add", "10.77.0.1/24", "dev", "first");
    counts({ type: "sched_cls", result: NEXT }, (program) => attachNetkit(program, "first", { side: "primary" }), send);
    using peer = loadProgram({ type: "sched_cls", instructions: [mov(r0, NEXT), exit()], name: "peer" });
    using link = attachNetkit(peer, "first", { side: "peer" });
    sameAsBpftool(link);
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
  }),
);
feature("sk_lookup", [], () =>
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    const SK_PASS = 1;
    counts(
      { type: "sk_lookup", expectedAttachType: "sk_lookup", result: SK_PASS },
      (program) => attachNetns(program),
      toSelf,
    );
  }),
);
feature("flow_dissector", [], () =>
  inNewNetwork(() => {
    // Nothing dissects here: a test run does.
    using program = loadProgram({ type: "flow_dissector", instructions: [mov(r0, 0), exit()], license: "GPL" });
    using next = loadProgram({ type: "flow_dissector", instructions: [mov(r0, 0), exit()], license: "GPL" });
    {
      using link = attachNetns(program);
      sameAsBpftool(link);
      link.update(next);
      assert.is(queryAttached({ namespace: "own" }, "flow_dissector").programs.length, 1);
    }
    assert.is(queryAttached({ namespace: "own" }, "flow_dissector").programs.length, 0);
  }),
);
function onSockmap(link: boolean): void {
  using map = createMap({ type: "sockmap", key: u32, value: u32, maxEntries: 1 });
  const SK_PASS = 1;
  using program = loadProgram({ type: "sk_msg", instructions: [mov(r0, SK_PASS), exit()], license: "GPL" });
  using attached = attachSockmap(program, map, { link });
  // Where there are no links of this kind, it has none.
  if (link) sameAsBpftool(attached);
  assert.is(queryAttached({ map }, "sk_msg_verdict").programs.length, 1);
}
feature("sockmap", [], () => onSockmap(false));
feature("sockmap by a link", ["6.1"], () => onSockmap(true));

interface Kind {
  readonly type: ProgType;
  readonly attachType: AttachType;
  /** Kernels without. */
  readonly lacking?: readonly ["6.1"];
  /** Makes it run, in the cgroup; `undefined`: it is only attached. */
  readonly trigger: (() => void) | undefined;
}

const useUdp = (): void => toSelf();
const connectUdp = (): void => {
  using socket = udpSocket();
  sendUdp(socket, "127.0.0.1", 9);
};

const CGROUP: readonly Kind[] = [
  { type: "cgroup_skb", attachType: "cgroup_inet_ingress", trigger: useUdp },
  { type: "cgroup_skb", attachType: "cgroup_inet_egress", trigger: useUdp },
  { type: "cgroup_sock", attachType: "cgroup_inet_sock_create", trigger: useUdp },
  { type: "cgroup_sock", attachType: "cgroup_inet_sock_release", trigger: useUdp },
  { type: "cgroup_sock", attachType: "cgroup_inet4_post_bind", trigger: useUdp },
  { type: "cgroup_sock", attachType: "cgroup_inet6_post_bind", trigger: undefined },
  { type: "cgroup_sock_addr", attachType: "cgroup_inet4_bind", trigger: useUdp },
  { type: "cgroup_sock_addr", attachType: "cgroup_inet4_connect", trigger: undefined },
  { type: "cgroup_sock_addr", attachType: "cgroup_udp4_sendmsg", trigger: connectUdp },
  { type: "cgroup_sock_addr", attachType: "cgroup_udp4_recvmsg", trigger: undefined },
  { type: "cgroup_sock_addr", attachType: "cgroup_inet4_getpeername", trigger: undefined },
  { type: "cgroup_sock_addr", attachType: "cgroup_inet4_getsockname", trigger: undefined },
  { type: "cgroup_sock_addr", attachType: "cgroup_unix_connect", lacking: ["6.1"], trigger: undefined },
  { type: "cgroup_sockopt", attachType: "cgroup_getsockopt", trigger: undefined },
  { type: "cgroup_sockopt", attachType: "cgroup_setsockopt", trigger: undefined },
  {
    type: "cgroup_device",
    attachType: "cgroup_device",
    trigger: () => closeSync(openSync("/dev/null", "r")),
  },
  {
    type: "cgroup_sysctl",
    attachType: "cgroup_sysctl",
    trigger: () => void tool("cat", "/proc/sys/kernel/ostype"),
  },
  { type: "sock_ops", attachType: "cgroup_sock_ops", trigger: undefined },
];

for (const { type, attachType, lacking = [], trigger } of CGROUP) {
  feature(attachType, lacking, () =>
    withCgroup((path, root) => {
      const spec = { type, expectedAttachType: attachType, result: 1 } as const;
      const attach = (program: Program) => attachCgroup(program, path);
      if (trigger !== undefined) {
        counts(
          spec,
          attach,
          () => inside(path, root, trigger),
          (link) => {
            assert.equal(
              queryAttached({ cgroup: path }, attachType).programs.map((one) => one.programId),
              [link.info().programId],
            );
          },
        );
      }
      using program = loadProgram({ ...spec, instructions: [mov(r0, 1), exit()], license: "GPL" });
      using next = loadProgram({ ...spec, instructions: [mov(r0, 1), exit()], license: "GPL" });
      {
        using link = attach(program);
        link.update(next, { expected: program });
        link.detach();
        assert.equal(queryAttached({ cgroup: path }, attachType).programs, []);
      }
      for (const sharing of ["multi", "override", "exclusive"] as const) {
        using _link = attachCgroup(program, path, { link: false, sharing });
        assert.is(queryAttached({ cgroup: path }, attachType).programs.length, 1);
      }
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
