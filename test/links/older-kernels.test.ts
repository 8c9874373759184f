import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import { BpfError, NotSupportedError } from "../../src/errors.ts";
import {
  type AttachType,
  IFLA_XDP,
  IFLA_XDP_EXPECTED_FD,
  IFLA_XDP_FD,
  IFLA_XDP_FLAGS,
  ifInfoMsg,
  infoByFdAttr,
  type ProgType,
  progInfo,
  RTM_DELQDISC,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
  RTM_SETLINK,
} from "../../src/kernel-abi/index.ts";
import {
  attachCgroup,
  attachLirc,
  attachLwt,
  attachNetkit,
  attachNetns,
  attachSockmap,
  attachTc,
  attachTcx,
  attachXdp,
} from "../../src/links/index.ts";
import { createMap, u32, u64 } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import {
  errnoNumber,
  FakeKernel,
  NetlinkAttributes,
  type SyscallBackend,
  type SyscallTrace,
  syscallNumbers,
  traceSyscalls,
} from "../../src/syscall/index.ts";
import { acknowledge, interfaceMessage, type Sent, speakNetlink } from "./fake-network.ts";

const test = suite("attaching on other kernels");

function load(kernel: FakeKernel, type: ProgType, expectedAttachType?: AttachType): Program {
  return loadProgram(
    { type, expectedAttachType, instructions: [mov(r0, 0), exit()], name: "p" },
    { backend: kernel.backend },
  );
}

/** Commands to the kernel while something runs, with what they were given. */
function commandsOf(run: () => void): (readonly [string, SyscallTrace["arguments"]])[] {
  const calls: SyscallTrace[] = [];
  using _tracer = traceSyscalls((traced) => calls.push(traced));
  run();
  return calls
    .filter(({ command }) => command?.startsWith("BPF_"))
    .map(({ command, arguments: given }) => {
      const shown = Object.entries(given).filter(([, value]) => value !== undefined);
      return [command!, Object.fromEntries(shown)] as const;
    });
}

/** A fake kernel whose files are all on one kind of file system: that of cgroups. */
function withFiles(magic = 0x63677270): FakeKernel {
  return new FakeKernel().onCall("statfs", ({ args, memory }) => {
    const room = memory(args[1]!, 4);
    new DataView(room.buffer, room.byteOffset).setUint32(0, magic, true);
    return 0;
  });
}

/** Lets every path be opened; each is a network namespace. */
function opening(kernel: FakeKernel): FakeKernel {
  kernel.onCall("openat", () => kernel.addDescriptor());
  kernel.onCall("ioctl", () => 0x40000000);
  return kernel;
}

function xdpOf(sent: Sent): { fd: number; flags: number; expected: number | undefined } {
  assert.is(sent.type, RTM_SETLINK);
  const nest = new NetlinkAttributes(sent.payload.subarray(ifInfoMsg.size)).nest(IFLA_XDP);
  return {
    fd: nest.number(IFLA_XDP_FD)! | 0,
    flags: nest.number(IFLA_XDP_FLAGS)!,
    expected: nest.number(IFLA_XDP_EXPECTED_FD),
  };
}

test("xdp: netlink where there are no links, taken back by comparison", () => {
  const kernel = new FakeKernel().on("BPF_LINK_CREATE", () => "EINVAL");
  const sent = speakNetlink(kernel);
  const loaded = load(kernel, "xdp");
  const next = load(kernel, "xdp");
  const link = attachXdp(loaded, "eth0", { mode: "generic" });
  assert.is(link.type, undefined);
  // XDP_FLAGS_SKB_MODE, and UPDATE_IF_NOEXIST: nobody's program is replaced.
  const held = xdpOf(sent[0]!).fd;
  assert.equal(sent.map(xdpOf), [{ fd: held, flags: 3, expected: undefined }]);
  assert.is.not(held, loaded.fd);
  link.update(next, { expected: loaded });
  link.close();
  const [, update, detach] = sent.map(xdpOf);
  assert.equal(update, { fd: next.fd, flags: 0x12, expected: loaded.fd });
  assert.equal([detach!.fd, detach!.flags], [-1, 0x12]);
  loaded.close();
  next.close();
  assert.equal(kernel.open, []);
});

test("xdp: kernels that cannot compare are asked before detaching", () => {
  for (const [attached, requests] of [
    [5, 3],
    [6, 2],
  ] as const) {
    const kernel = new FakeKernel().on("BPF_LINK_CREATE", () => "EINVAL");
    kernel.on("BPF_OBJ_GET_INFO_BY_FD", (request) => {
      const info = request.memory(infoByFdAttr, "info", progInfo.size);
      new DataView(info.buffer, info.byteOffset).setUint32(progInfo.fields.id.offset, 5, true);
      return 0;
    });
    let turn = 0;
    const sent = speakNetlink(kernel, {
      answer: (request) => {
        if (request.type !== RTM_SETLINK) return undefined;
        turn++;
        return [{ messages: [turn === 2 ? acknowledge("EINVAL") : acknowledge()] }];
      },
      interfaces: [interfaceMessage(9, "eth9", { program: attached })],
    });
    const loaded = load(kernel, "xdp");
    attachXdp(loaded, "eth9").close();
    // A program that is another one stays.
    assert.is(sent.length, requests);
    if (requests === 3) assert.equal(xdpOf(sent[2]!), { fd: -1, flags: 0, expected: undefined });
    loaded.close();
    assert.equal(kernel.open, []);
  }
});

test("xdp: other errors are no reason to fall back", () => {
  const kernel = new FakeKernel().on("BPF_LINK_CREATE", () => "EBUSY");
  const sent = speakNetlink(kernel, { interfaces: [interfaceMessage(9, "eth9", { program: 5 })] });
  const loaded = load(kernel, "xdp");
  assert.throws(
    () => attachXdp(loaded, "eth9"),
    /^Cannot attach program "p" to xdp of eth9: EBUSY, eth9 has program 5 \(driver\)/,
  );
  assert.equal(sent, []);
  loaded.close();
  assert.equal(kernel.open, []);
});

test("tc: a filter that fails takes its qdisc with it", () => {
  const kernel = new FakeKernel();
  const sent = speakNetlink(kernel, {
    answer: (request) =>
      request.type === RTM_NEWTFILTER ? [{ messages: [acknowledge("ENOMEM", "no room")] }] : undefined,
  });
  const loaded = load(kernel, "sched_cls");
  assert.throws(
    () => attachTc(loaded, "eth0", { direction: "egress" }),
    /^Cannot attach program "p" to tc egress of eth0: ENOMEM, no room/,
  );
  const types = sent.map(({ type }) => type);
  assert.equal([types[0], types[1], types.at(-1)], [RTM_NEWQDISC, RTM_NEWTFILTER, RTM_DELQDISC]);
  loaded.close();
  assert.equal(kernel.open, []);
});

test("netkit and tcx: exact arguments", () => {
  const kernel = new FakeKernel();
  speakNetlink(kernel, { interfaces: [interfaceMessage(4, "nk0", { kind: "netkit" })] });
  const loaded = load(kernel, "sched_cls");
  const calls = commandsOf(() => {
    attachNetkit(loaded, "nk0", { side: "peer", order: { before: { programId: 44 } }, expectedRevision: 3n }).close();
    attachTcx(loaded, "eth0", { direction: "egress", order: { after: { linkId: 55 } } }).close();
    attachNetkit(loaded, "nk0", { side: "primary", order: "first", link: false }).close();
  });
  const prog_fd = loaded.fd;
  const held = calls[2]![1].attach_bpf_fd;
  assert.equal(calls, [
    [
      "BPF_LINK_CREATE",
      {
        prog_fd,
        target_ifindex: 4,
        attach_type: "netkit_peer",
        flags: 8 | 32,
        "netkit.relative_id": 44,
        "netkit.expected_revision": 3n,
      },
    ],
    [
      "BPF_LINK_CREATE",
      { prog_fd, target_ifindex: 2, attach_type: "tcx_egress", flags: 16 | 32 | 0x2000, "tcx.relative_id": 55 },
    ],
    ["BPF_PROG_ATTACH", { target_ifindex: 4, attach_bpf_fd: held, attach_flags: 8, attach_type: "netkit_primary" }],
    ["BPF_PROG_DETACH", { target_ifindex: 4, attach_bpf_fd: held, attach_type: "netkit_primary" }],
  ]);
  loaded.close();
  assert.equal(kernel.open, []);
});

test("cgroups: BPF_PROG_ATTACH where there are no links, with what was asked for only", () => {
  const kernel = opening(withFiles()).on("BPF_LINK_CREATE", () => "EINVAL");
  const loaded = load(kernel, "cgroup_skb", "cgroup_inet_egress");
  const calls = commandsOf(() => {
    attachCgroup(loaded, "/cgroup").close();
    attachCgroup(loaded, "/cgroup", { sharing: "override" }).close();
    assert.throws(() => attachCgroup(loaded, "/cgroup", { order: "first" }), /EINVAL|needs Linux 6\.16/);
    assert.throws(() => attachCgroup(loaded, "/cgroup", { preorder: true }), /EINVAL|needs Linux 6\.15/);
  });
  assert.equal(
    calls.map(([command, { attach_flags, flags }]) => [command, attach_flags ?? flags]),
    [
      ["BPF_LINK_CREATE", 0],
      ["BPF_PROG_ATTACH", 2],
      ["BPF_PROG_DETACH", undefined],
      ["BPF_PROG_ATTACH", 1],
      ["BPF_PROG_DETACH", undefined],
      ["BPF_LINK_CREATE", 8],
      ["BPF_LINK_CREATE", 64],
    ],
  );
  loaded.close();
  assert.equal(kernel.open, []);
});

test("cgroups: LSM programs", () => {
  const kernel = opening(withFiles());
  const loaded = load(kernel, "lsm", "lsm_cgroup");
  const [create] = commandsOf(() => attachCgroup(loaded, "/cgroup").close());
  assert.equal([create![0], create![1].attach_type], ["BPF_LINK_CREATE", "lsm_cgroup"]);
  loaded.close();
  const mac = load(kernel, "lsm", "lsm_mac");
  assert.throws(() => attachCgroup(mac, "/cgroup"), /as lsm_mac: it is of type lsm/);
  mac.close();
  assert.equal(kernel.open, []);
});

test("cgroups of version 1 are refused before any command", () => {
  const kernel = opening(withFiles(0x27e0eb));
  const loaded = load(kernel, "cgroup_device");
  const calls = commandsOf(() => {
    assert.throws(
      () => attachCgroup(loaded, "/sys/fs/cgroup/devices"),
      /^Cannot attach to \/sys\/fs\/cgroup\/devices: it is a cgroup of version 1, wanted one of version 2\nHint: /,
    );
  });
  assert.equal(calls, []);
  loaded.close();
  assert.equal(kernel.open, []);
});

test("a failure half-way closes what was opened", () => {
  const kernel = opening(withFiles())
    .on("BPF_LINK_CREATE", () => "EINVAL")
    .on("BPF_PROG_ATTACH", () => "EPERM");
  const loaded = load(kernel, "cgroup_device");
  assert.throws(
    () => attachCgroup(loaded, "/cgroup"),
    /Cannot attach program "p" to cgroup_device of cgroup \/cgroup: EPERM/,
  );
  loaded.close();
  assert.equal(kernel.open, []);
});

test("flow dissectors and maps of sockets: BPF_PROG_ATTACH where there are no links", () => {
  const kernel = opening(new FakeKernel()).on("BPF_LINK_CREATE", () => "EINVAL");
  const { backend } = kernel;
  const dissector = load(kernel, "flow_dissector");
  const lookup = load(kernel, "sk_lookup");
  const message = load(kernel, "sk_msg");
  const sockets = createMap({ type: "sockmap", key: u32, value: u64, maxEntries: 1 }, { backend });
  const calls = commandsOf(() => {
    attachNetns(dissector).close();
    assert.throws(() => attachNetns(dissector, { path: "/run/netns/blue" }), /EINVAL|NotSupported|needs Linux/);
    assert.throws(
      () => attachNetns(lookup),
      /Cannot attach program "p" to sk_lookup of this network namespace: EINVAL/,
    );
    attachSockmap(message, sockets).close();
  });
  assert.equal(
    calls.map(([command, { attach_type, target_fd }]) => [command, attach_type, typeof target_fd]),
    [
      ["BPF_LINK_CREATE", "flow_dissector", "number"],
      // The kernel wants no descriptor of the namespace here.
      ["BPF_PROG_ATTACH", "flow_dissector", "undefined"],
      ["BPF_PROG_DETACH", "flow_dissector", "undefined"],
      ["BPF_LINK_CREATE", "flow_dissector", "number"],
      ["BPF_LINK_CREATE", "sk_lookup", "number"],
      ["BPF_LINK_CREATE", "sk_msg_verdict", "number"],
      ["BPF_PROG_ATTACH", "sk_msg_verdict", "number"],
      ["BPF_PROG_DETACH", "sk_msg_verdict", "number"],
    ],
  );
  for (const one of [dissector, lookup, message, sockets]) one.close();
  assert.equal(kernel.open, []);
});

test("infrared receivers", () => {
  const kernel = opening(new FakeKernel());
  const loaded = load(kernel, "lirc_mode2");
  const calls = commandsOf(() => {
    const link = attachLirc(loaded, "/dev/lirc0");
    assert.is(link.target, "lirc_mode2 of /dev/lirc0");
    assert.throws(
      () => link.update(loaded),
      (error: unknown) => error instanceof NotSupportedError,
    );
    link.close();
  });
  assert.equal(
    calls.map(([command, { attach_type }]) => [command, attach_type]),
    [
      ["BPF_PROG_ATTACH", "lirc_mode2"],
      ["BPF_PROG_DETACH", "lirc_mode2"],
    ],
  );
  kernel.onCall("openat", () => "ENOENT");
  assert.throws(() => attachLirc(loaded, "/dev/lirc9"), /^There is no infrared device \/dev\/lirc9$/);
  kernel.onCall("openat", () => kernel.addDescriptor());
  kernel.on("BPF_PROG_ATTACH", () => "EINVAL");
  assert.throws(() => attachLirc(loaded, "/dev/null"), /EINVAL, this is no receiver of raw infrared signals/);
  loaded.close();
  assert.equal(kernel.open, []);
});

/** Where each system call fails in turn, save for closing. */
function failing(backend: SyscallBackend, fails: (turn: number) => boolean): SyscallBackend {
  let turn = 0;
  const result = -errnoNumber("EMFILE");
  return {
    ...backend,
    syscall: (number, ...args) =>
      number !== syscallNumbers.x64.close && fails(turn++) ? result : backend.syscall(number, ...args),
    bpf: (command, attr, size) => (fails(turn++) ? result : backend.bpf(command, attr, size)),
  };
}

test("whichever call fails, nothing is left open", () => {
  const attempts: Record<string, (backend: SyscallBackend) => { close(): void } | undefined> = {
    xdp: (backend) => withProgram(backend, "xdp", (one) => attachXdp(one, "eth0")),
    "xdp by netlink": (backend) => withProgram(backend, "xdp", (one) => attachXdp(one, "eth0", { link: false })),
    tc: (backend) => withProgram(backend, "sched_cls", (one) => attachTc(one, "eth0", { direction: "ingress" })),
    tcx: (backend) =>
      withProgram(backend, "sched_cls", (one) => attachTcx(one, "eth0", { direction: "ingress", link: false })),
    cgroup: (backend) => withProgram(backend, "cgroup_device", (one) => attachCgroup(one, "/c")),
    "cgroup without a link": (backend) =>
      withProgram(backend, "cgroup_device", (one) => attachCgroup(one, "/c", { link: false })),
    netns: (backend) => withProgram(backend, "flow_dissector", (one) => attachNetns(one)),
    lirc: (backend) => withProgram(backend, "lirc_mode2", (one) => attachLirc(one, "/dev/lirc0")),
    route: (backend) =>
      withProgram(backend, "lwt_out", (one) => attachLwt(one, { destination: "10.0.0.0/8", interface: "eth0" })),
  };
  let failures = 0;
  for (const [name, attempt] of Object.entries(attempts)) {
    for (let wanted = 0, reached = true; reached; wanted++) {
      const kernel = opening(withFiles());
      speakNetlink(kernel);
      reached = false;
      const backend = failing(kernel.backend, (turn) => {
        if (turn !== wanted) return false;
        reached = true;
        return true;
      });
      try {
        attempt(backend)?.close();
      } catch (error) {
        assert.ok(error instanceof BpfError, `${name}, call ${wanted}: ${error}`);
        failures++;
      }
      assert.equal(kernel.open, [], `${name}, call ${wanted}`);
      assert.ok(wanted < 200);
    }
  }
  console.log(
    `NOTE ${failures} errors of calls that failed alone in ${Object.keys(attempts).length} attachments left nothing`,
  );
});

function withProgram<T>(backend: SyscallBackend, type: ProgType, run: (program: Program) => T): T {
  using program = loadProgram({ type, instructions: [mov(r0, 0), exit()], name: "p" }, { backend });
  return run(program);
}

test.run();
