import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import type { BpfError } from "../../src/errors.ts";
import { attachNetkit, attachTcx, type Link, type Order, queryAttached } from "../../src/links/index.ts";
import { programId } from "../../src/links/occupant.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { findInterface, kernelOlderThan } from "../../src/syscall/index.ts";
import { failOnLeaks, type Register, requires, skip } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";
import { inNewNetwork, type Json, jsonOf, makeVeth, sendPackets, tool } from "./network.ts";

const test = suite("tcx links");
failOnLeaks(test);
const kernel: Register = kernelOlderThan(6, 6)
  ? (name) => skip(test, name, "needs Linux 6.6")
  : requires(test, "bpf", "net-admin", "sys-admin", "koffi", "tool:ip", "tool:bpftool>=7.3");

const TCX_NEXT = -1;

function empty(name: string): Program {
  return loadProgram({ type: "sched_cls", instructions: [mov(r0, TCX_NEXT), exit()], name });
}

function names(attachType: "tcx_ingress" | "tcx_egress" = "tcx_ingress"): string[] {
  const key = `tcx/${attachType.slice(4)}`;
  const [shown] = jsonOf("bpftool", "net", "show");
  return shown.tc.filter((one: Json) => one.kind === key).map((one: Json) => one.name);
}

for (const link of [true, false]) {
  kernel(`counts while attached, ${link ? "with" : "without"} a link`, () => {
    inNewNetwork(() => {
      makeVeth();
      using map = counter();
      using outgoing = counter();
      using loaded = loadProgram({ type: "sched_cls", instructions: counting(map, TCX_NEXT), license: "GPL" });
      using egress = loadProgram({
        type: "sched_cls",
        expectedAttachType: "tcx_egress",
        instructions: counting(outgoing, TCX_NEXT),
        license: "GPL",
        name: "out",
      });
      {
        using one = attachTcx(loaded, "v1", { direction: "ingress", link });
        using two = attachTcx(egress, "v0", { link });
        assert.is(one.type, link ? "tcx" : undefined);
        assert.is(two.target, "tcx egress of v0");
        sendPackets(3);
        assert.equal([map.get(0), outgoing.get(0)], [3n, 3n]);
        const { programs, revision } = queryAttached({ interface: "v0" }, "tcx_egress");
        assert.equal(programs, [{ programId: programs[0]!.programId, linkId: link ? two.id : 0, flags: 0 }]);
        assert.ok(revision > 0n);
        assert.equal(names("tcx_egress"), ["out"]);
        if (link) {
          const info = two.info();
          assert.is(info.type === "tcx" && info.attachType, "tcx_egress");
        }
      }
      sendPackets(3);
      assert.equal([map.get(0), outgoing.get(0)], [3n, 3n]);
      assert.equal(queryAttached({ interface: "v0" }, "tcx_egress").programs, []);
    });
  });
}

kernel("programs stand where the order says, by program, link and number", () => {
  inNewNetwork(() => {
    makeVeth();
    const programs = new Map<string, Program>();
    const links: Link[] = [];
    const add = (name: string, order?: Order, link = true): Link => {
      const loaded = empty(name);
      programs.set(name, loaded);
      const made = attachTcx(loaded, "v1", { direction: "ingress", order, link });
      links.push(made);
      return made;
    };
    const ids = (): Map<string, number> =>
      new Map(
        names().map((name, i) => [name, queryAttached({ interface: "v1" }, "tcx_ingress").programs[i]!.programId]),
      );
    const b = add("b");
    add("d", "last");
    add("a", "first");
    add("c", { after: b });
    assert.equal(names(), ["a", "b", "c", "d"]);
    add("b2", { before: { programId: ids().get("c")! } });
    add("a2", { after: { linkId: links[2]!.id } });
    add("e", undefined, false);
    add("d2", { before: programs.get("e")! }, false);
    assert.equal(names(), ["a", "a2", "b", "b2", "c", "d", "d2", "e"]);

    const { revision } = queryAttached({ interface: "v1" }, "tcx_ingress");
    using late = empty("late");
    for (const link of [true, false]) {
      assert.throws(
        () => attachTcx(late, "v1", { direction: "ingress", expectedRevision: revision - 1n, link }),
        (error: BpfError) => error.code === "ESTALE" && /has changed since that revision/.test(error.message),
      );
    }
    attachTcx(late, "v1", { direction: "ingress", expectedRevision: revision }).close();
    const gone = links.pop()!;
    gone.close();
    using stranger = empty("stranger");
    assert.throws(
      () => attachTcx(late, "v1", { direction: "ingress", order: { before: stranger } }),
      (error: BpfError) =>
        error.code === "ENOENT" && /the neighbour named by the order is not attached/.test(error.message),
    );
    for (const link of links) link.close();
    for (const loaded of programs.values()) loaded.close();
    assert.equal(names(), []);
  });
});

kernel("a program takes the place of another one", () => {
  inNewNetwork(() => {
    makeVeth();
    for (const link of [true, false]) {
      using one = empty("one");
      using two = empty("two");
      using three = empty("three");
      using first = attachTcx(one, "v1", { direction: "ingress", link });
      using _second = attachTcx(three, "v1", { direction: "ingress", link });
      first.update(two, { expected: one });
      assert.equal(names(), ["two", "three"]);
      assert.throws(() => first.update(one, { expected: one }), link ? /EPERM/ : /ENOENT/);
    }
    assert.equal(names(), []);
  });
});

kernel("what bpftool attaches is seen, and the other way round", () => {
  inNewNetwork(() => {
    makeVeth();
    using loaded = empty("theirs");
    using ours = empty("ours");
    using xdp = loadProgram({ type: "xdp", instructions: [mov(r0, 2), exit()], name: "theirs" });
    const id = String(programId(loaded.owner));
    let agree = 0;
    for (const kind of ["tcx_ingress", "tcx_egress"] as const) {
      tool("bpftool", "net", "attach", kind, "id", id, "dev", "v1");
      using link = attachTcx(ours, "v1", { direction: kind === "tcx_ingress" ? "ingress" : "egress" });
      const seen = queryAttached({ interface: "v1" }, kind).programs.map((one) => one.programId);
      assert.equal(seen, [Number(id), programId(ours.owner)]);
      assert.equal(names(kind), ["theirs", "ours"]);
      // It takes the last one away.
      link.close();
      tool("bpftool", "net", "detach", kind, "dev", "v1");
      agree++;
    }
    for (const [kind, mode] of [
      ["xdpgeneric", "generic"],
      ["xdpdrv", "driver"],
    ] as const) {
      tool("bpftool", "net", "attach", kind, "id", String(programId(xdp.owner)), "dev", "v1");
      assert.equal(findInterface("v1").xdp, { mode, programs: { [mode]: programId(xdp.owner) } });
      tool("bpftool", "net", "detach", kind, "dev", "v1");
      assert.is(findInterface("v1").xdp.mode, undefined);
      agree++;
    }
    console.log(`NOTE ${agree} of 4 attachments of bpftool to interfaces are seen as it sees them`);
  });
});

kernel("errors say what is wrong", () => {
  inNewNetwork(() => {
    makeVeth();
    using loaded = empty("p");
    assert.throws(() => attachTcx(loaded, "v1"), /needs a direction/);
    assert.throws(() => attachTcx(loaded, "nowhere", { direction: "egress" }), /no interface "nowhere"/);
    assert.throws(
      () => attachNetkit(loaded, "v1", { side: "primary" }),
      /^Cannot attach program "p" to netkit primary of v1: it is no netkit device, but veth$/,
    );
    using _link = attachTcx(loaded, "v1", { direction: "ingress" });
    assert.throws(
      () => attachTcx(loaded, "v1", { direction: "ingress" }),
      /EEXIST, this program is attached there already/,
    );
  });
});

test.run();
