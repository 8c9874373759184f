import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import type { AttachType, ProgType } from "../../src/kernel-abi/index.ts";
import {
  attachCgroup,
  CGROUP_ATTACH_TYPES,
  type CgroupOptions,
  type Link,
  queryAttached,
} from "../../src/links/index.ts";
import { programId } from "../../src/links/occupant.ts";
import type { BpfMap } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { kernelOlderThan } from "../../src/syscall/index.ts";
import { failOnLeaks, repository, requires, toolPath } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";
import { assertTriggered, inNewNetwork, inside, type Json, jsonOf, tool, triggerIn, withCgroup } from "./network.ts";

const test = suite("cgroup links");
failOnLeaks(test);
const kernel = requires(test, "bpf", "net-admin", "sys-admin", "koffi", "tool:ip", "tool:bpftool");

/** Does, once and more, everything that a cgroup can have a program for. */
const EVERYTHING = `
import os, socket, tempfile
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((host, 0))
    client = socket.socket(family, socket.SOCK_DGRAM)
    client.sendto(b"x", server.getsockname())
    server.recvfrom(10)
    client.connect(server.getsockname())
    client.getpeername()
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    listener.bind((host, 0))
    listener.listen()
    stream = socket.socket(family, socket.SOCK_STREAM)
    stream.connect(listener.getsockname())
    stream.close()
with tempfile.TemporaryDirectory() as folder:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(folder + "/a")
    server.getsockname()
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.bind(folder + "/b")
    client.sendto(b"x", folder + "/a")
    server.recvfrom(10)
    client.connect(folder + "/a")
    client.getpeername()
open("/proc/sys/kernel/ostype").read()
open("/dev/null").read()
`;

function doEverything(): void {
  const { status, stderr } = spawnSync("python3", ["-c", EVERYTHING], { encoding: "utf8" });
  assert.is(status, 0, stderr);
}

function load(
  type: ProgType,
  expectedAttachType: AttachType | undefined,
  map: BpfMap<number, bigint>,
  name = "p",
): Program {
  return loadProgram({ type, expectedAttachType, instructions: counting(map, 1), license: "GPL", name });
}

const every = (Object.entries(CGROUP_ATTACH_TYPES) as [ProgType, readonly AttachType[]][])
  // Programs of LSM cannot be loaded on every kernel.
  .filter(([type]) => type !== "lsm")
  .flatMap(([type, attachTypes]) => attachTypes.map((attachType) => ({ type, attachType })))
  .filter(({ attachType }) => !attachType.startsWith("cgroup_unix") || !kernelOlderThan(6, 7));

for (const options of [{}, { link: false }, { sharing: "override" }, { sharing: "exclusive" }] as CgroupOptions[]) {
  const name = JSON.stringify(options);
  requires(
    test,
    "bpf",
    "net-admin",
    "sys-admin",
    "koffi",
    "tool:ip",
    "tool:bpftool",
    "tool:python3",
  )(`programs of every attach type count while attached: ${name}`, () => {
    let seen = 0;
    inNewNetwork(() => {
      tool("ip", "link", "set", "lo", "up");
      withCgroup((path, root) => {
        const maps = new Map<AttachType, BpfMap<number, bigint>>();
        const links: Link[] = [];
        try {
          for (const { type, attachType } of every) {
            const map = counter();
            maps.set(attachType, map);
            // A type that has but one need not be told.
            const told = CGROUP_ATTACH_TYPES[type]!.length > 1 ? attachType : undefined;
            const loaded = load(type, told, map);
            links.push(attachCgroup(loaded, path, options));
            loaded.close();
          }
          assert.is(links[0]!.type, name === "{}" ? "cgroup" : undefined);
          inside(path, root, doEverything);
          const counts = new Map([...maps].map(([attachType, map]) => [attachType, map.get(0)!]));
          assert.equal(
            [...counts].filter(([, count]) => count === 0n).map(([attachType]) => attachType),
            [],
          );
          const shown: Json[] = jsonOf("bpftool", "cgroup", "show", path);
          assert.is(shown.length, every.length);
          for (const { attachType } of every) {
            const { programs, sharing } = queryAttached({ cgroup: path }, attachType);
            assert.is(programs.length, 1);
            assert.is(sharing, options.sharing ?? "multi");
            const same = shown.find((one) => one.id === programs[0]!.programId);
            assert.is(same.attach_flags, { multi: "multi", override: "override", exclusive: "" }[sharing!]);
            seen++;
          }
          for (const link of links.splice(0)) link.close();
          inside(path, root, doEverything);
          for (const [attachType, map] of maps) assert.is(map.get(0), counts.get(attachType), attachType);
          assert.equal(jsonOf("bpftool", "cgroup", "show", path), []);
        } finally {
          for (const link of links) link.close();
          for (const map of maps.values()) map.close();
        }
      });
    });
    console.log(`NOTE bpftool sees ${seen} of ${every.length} attachments to a cgroup as we do: ${name}`);
  });
}

const compiled = requires(test, "bpf", "net-admin", "sys-admin", "koffi", "tool:ip", "tool:gcc");

let directory: string;
let trigger: string;

test.before(() => {
  directory = mkdtempSync(join(tmpdir(), "rawbpf-trigger-"));
  trigger = join(directory, "trigger");
  const gcc = toolPath("gcc");
  if (gcc === undefined) return;
  const built = spawnSync(gcc, ["-O1", "-Wall", join(repository, "test/links/trigger.c"), "-o", trigger], {
    encoding: "utf8",
  });
  assert.is(built.status, 0, built.stderr);
});

test.after(() => rmSync(directory, { recursive: true }));

for (const { type, attachType } of every) {
  compiled(`${attachType} counts each time, in its cgroup and below, and only while attached`, () => {
    inNewNetwork(() => {
      tool("ip", "link", "set", "lo", "up");
      withCgroup((path) => {
        const below = `${path}/below`;
        const beside = `${path}/beside`;
        mkdirSync(below);
        mkdirSync(beside);
        try {
          using map = counter();
          using loaded = load(type, attachType, map);
          using inherited = counter();
          using above = load(type, attachType, inherited);
          using link = attachCgroup(loaded, below);
          using _above = attachCgroup(above, path);
          triggerIn(below, trigger, attachType);
          assertTriggered(map.get(0)!, attachType);
          assert.is(inherited.get(0), map.get(0), "above");
          const counted = map.get(0)!;
          triggerIn(beside, trigger, attachType);
          assert.is(map.get(0), counted, "beside");
          assert.is(inherited.get(0), 2n * counted, "above, from beside");
          link.close();
          triggerIn(below, trigger, attachType);
          assert.is(map.get(0), counted, "detached");
          assert.is(inherited.get(0), 3n * counted, "above, alone");
        } finally {
          rmdirSync(below);
          rmdirSync(beside);
        }
      });
    });
  });
}

kernel("what bpftool attaches is seen", () => {
  withCgroup((path) => {
    using map = counter();
    using loaded = load("cgroup_skb", "cgroup_inet_egress", map, "theirs");
    using other = load("cgroup_skb", "cgroup_inet_egress", map, "ours");
    using _link = attachCgroup(other, path);
    const id = programId(loaded.owner);
    tool("bpftool", "cgroup", "attach", path, "cgroup_inet_egress", "id", String(id), "multi");
    const { programs, sharing } = queryAttached({ cgroup: path }, "cgroup_inet_egress");
    assert.is(programs.length, 2);
    assert.is(sharing, "multi");
    assert.ok(programs.some(({ programId }) => programId === id));
    tool("bpftool", "cgroup", "detach", path, "cgroup_inet_egress", "id", String(id));
    assert.is(queryAttached({ cgroup: path }, "cgroup_inet_egress").programs.length, 1);
  });
});

kernel("programs of cgroups above are effective below", () => {
  withCgroup((path) => {
    const below = `${path}/below`;
    mkdirSync(below);
    try {
      using map = counter();
      using loaded = load("cgroup_skb", "cgroup_inet_egress", map);
      using second = load("cgroup_skb", "cgroup_inet_egress", map);
      using _one = attachCgroup(loaded, path);
      using _two = attachCgroup(second, below);
      const own = queryAttached({ cgroup: below }, "cgroup_inet_egress");
      const effective = queryAttached({ cgroup: below }, "cgroup_inet_egress", { effective: true });
      const above = queryAttached({ cgroup: path }, "cgroup_inet_egress");
      assert.equal(
        effective.programs.map(({ programId }) => programId),
        [...own.programs, ...above.programs].map(({ programId }) => programId),
      );
      assert.is(effective.sharing, undefined);
    } finally {
      rmdirSync(below);
    }
  });
});

kernel("a program takes the place of another one", () => {
  withCgroup((path) => {
    for (const options of [{}, { link: false }, { sharing: "override" }] as CgroupOptions[]) {
      using map = counter();
      using first = load("cgroup_skb", "cgroup_inet_egress", map, "first");
      using second = load("cgroup_skb", "cgroup_inet_egress", map, "second");
      using link = attachCgroup(first, path, options);
      const before = queryAttached({ cgroup: path }, "cgroup_inet_egress").programs;
      link.update(second, { expected: first });
      const after = queryAttached({ cgroup: path }, "cgroup_inet_egress").programs;
      assert.equal([before.length, after.length], [1, 1]);
      assert.is.not(before[0]!.programId, after[0]!.programId);
    }
    using map = counter();
    using first = load("cgroup_skb", "cgroup_inet_egress", map, "first");
    using second = load("cgroup_skb", "cgroup_inet_egress", map, "second");
    const link = attachCgroup(first, path, { link: false });
    const next = attachCgroup(second, path, { expected: first });
    assert.is(queryAttached({ cgroup: path }, "cgroup_inet_egress").programs.length, 1);
    // What it attached is gone already.
    link.close();
    next.close();
    assert.is(queryAttached({ cgroup: path }, "cgroup_inet_egress").programs.length, 0);
  });
});

if (!kernelOlderThan(6, 16)) {
  kernel("programs stand where the order says", () => {
    withCgroup((path) => {
      using map = counter();
      const programs = [..."abcdef"].map((name) => load("cgroup_skb", "cgroup_inet_egress", map, name));
      const [a, b, c, d, e, f] = programs as [Program, Program, Program, Program, Program, Program];
      const names = (): string[] => {
        const shown: Json[] = jsonOf("bpftool", "cgroup", "show", path);
        return queryAttached({ cgroup: path }, "cgroup_inet_egress").programs.map(
          ({ programId }) => shown.find((one) => one.id === programId).name,
        );
      };
      const links: Link[] = [];
      const add = (program: Program, options: CgroupOptions = {}): Link => {
        const link = attachCgroup(program, path, options);
        links.push(link);
        return link;
      };
      const middle = add(c);
      add(a, { order: "first" });
      add(e, { order: "last", link: false });
      add(b, { order: { before: middle } });
      add(d, { order: { before: e }, link: false });
      assert.equal(names(), ["a", "b", "c", "d", "e"]);
      const { revision } = queryAttached({ cgroup: path }, "cgroup_inet_egress");
      assert.throws(
        () => attachCgroup(f, path, { expectedRevision: revision + 7n }),
        (error: BpfError) => error.code === "ESTALE",
      );
      add(f, { expectedRevision: revision });
      assert.equal(names(), ["a", "b", "c", "d", "e", "f"]);
      for (const link of links) link.close();
      for (const loaded of programs) loaded.close();
    });
  });
}

kernel("errors say what is wrong, and leave nothing", () => {
  withCgroup((path) => {
    using map = counter();
    using skb = load("cgroup_skb", "cgroup_inet_egress", map);
    using bare = load("cgroup_skb", undefined, map);
    using device = load("cgroup_device", undefined, map);
    const fails = (run: () => unknown, code: string | undefined, message: RegExp): void => {
      assert.throws(run, (error: BpfError) => {
        assert.is(error.code, code);
        assert.match(error.message, message);
        return true;
      });
    };
    fails(() => attachCgroup(skb, `${path}/none`), "ERR_ATTACH_TARGET", /^There is no cgroup .*\/none$/);
    fails(
      () => attachCgroup(skb, "/proc"),
      "ERR_ATTACH_TARGET",
      /^Cannot attach to \/proc: it is no cgroup, wanted one of version 2\nHint: /,
    );
    fails(
      () => attachCgroup(skb, path, { attachType: "cgroup_inet_ingress" }),
      "ERR_TYPE_MISMATCH",
      /^Cannot attach program "p" to cgroup .* as cgroup_inet_ingress: it is loaded for cgroup_inet_egress$/,
    );
    fails(
      () => attachCgroup(device, path, { attachType: "cgroup_sysctl" }),
      "ERR_TYPE_MISMATCH",
      /it is of type cgroup_device\nHint: programs of that type attach as cgroup_device$/,
    );
    fails(() => attachCgroup(bare, path), undefined, /needs an attach type: cgroup_inet_ingress, cgroup_inet_egress/);
    fails(
      () => attachCgroup(skb, path, { sharing: "override", order: "first" }),
      undefined,
      /have an order only when they share it/,
    );
    attachCgroup(bare, path, { attachType: "cgroup_inet_ingress" }).close();
    using _alone = attachCgroup(skb, path, { sharing: "exclusive" });
    using other = load("cgroup_skb", "cgroup_inet_egress", map);
    fails(
      () => attachCgroup(other, path),
      "EPERM",
      /^Cannot attach program "p" to cgroup_inet_egress of cgroup .*: EPERM, operation not permitted, or a program here or in a cgroup above allows no other one$/,
    );
    using xdp = load("xdp", undefined, map);
    fails(() => attachCgroup(xdp, path), "ERR_TYPE_MISMATCH", /it is a xdp program, wanted cgroup_skb or /);
    fails(
      () => queryAttached({ cgroup: path }, "xdp"),
      "EINVAL",
      /EINVAL, the kernel, or the target, knows no such attachment/,
    );
  });
});

kernel("a cgroup can be given as a descriptor, which stays open", () => {
  withCgroup((path) => {
    using map = counter();
    using loaded = load("cgroup_sysctl", undefined, map);
    const fd = openSync(path, "r");
    using link = attachCgroup(loaded, fd);
    assert.is(link.target, `cgroup_sysctl of cgroup descriptor ${fd}`);
    assert.is(queryAttached({ cgroup: fd }, "cgroup_sysctl").programs.length, 1);
    closeSync(fd);
  });
});

test.run();
