import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import { attachTc, listTcFilters, TcLink } from "../../src/links/index.ts";
import type { BpfMap } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";
import { inNewNetwork, type Json, jsonOf, makeVeth, sendPackets, tool } from "./network.ts";

const test = suite("filters of tc");
failOnLeaks(test);
const kernel = requires(test, "bpf", "net-admin", "sys-admin", "koffi", "tool:ip", "tool:tc", "tool:bpftool");

const TC_ACT_UNSPEC = -1;

function load(map: BpfMap<number, bigint>, name = "counter"): Program {
  return loadProgram({ type: "sched_cls", instructions: counting(map, TC_ACT_UNSPEC), license: "GPL", name });
}

function qdiscs(device: string): string[] {
  return jsonOf("tc", "qdisc", "show", "dev", device).map((one: Json) => one.kind);
}

kernel("a filter of each direction counts while it is attached; the qdisc goes with the last one", () => {
  inNewNetwork(() => {
    makeVeth();
    using incoming = counter();
    using outgoing = counter();
    using first = load(incoming, "incoming");
    using second = load(outgoing, "outgoing");
    const before = qdiscs("v1");
    const one = attachTc(first, "v1", { direction: "ingress" });
    assert.ok(one instanceof TcLink);
    assert.is(one.target, "tc ingress of v1");
    assert.equal(one.place, {
      direction: "ingress",
      parent: 0xfffffff2,
      handle: 1,
      priority: 49152,
      protocol: 3,
      chain: 0,
    });
    using two = attachTc(second, "v0", { direction: "egress", handle: 7, priority: 5 });
    sendPackets(4);
    assert.equal([incoming.get(0), outgoing.get(0)], [4n, 4n]);

    const [filter] = listTcFilters("v0");
    assert.equal(
      { ...filter, programId: 0, tag: "" },
      { ...two.place, programId: 0, name: "outgoing", tag: "", directAction: true },
    );
    assert.is(filter!.tag.length, 16);
    // What iproute2 and bpftool see.
    const shown = jsonOf("tc", "filter", "show", "dev", "v0", "egress").find((entry: Json) => entry.options?.handle);
    assert.equal([shown.pref, shown.options.handle, shown.options.bpf_name ?? "outgoing"], [5, "0x7", "outgoing"]);
    assert.is(shown.options.prog.id, filter!.programId);
    assert.ok(JSON.stringify(jsonOf("bpftool", "net", "show")).includes(`"id":${filter!.programId}`));

    one.close();
    sendPackets(2);
    assert.equal([incoming.get(0), outgoing.get(0)], [4n, 6n]);
    assert.equal(qdiscs("v1"), before);
    assert.ok(qdiscs("v0").includes("clsact"));
    two.close();
    assert.not.ok(qdiscs("v0").includes("clsact"));
  });
});

kernel("a qdisc that others made, or still use, stays", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using loaded = load(map);
    tool("tc", "qdisc", "add", "dev", "v1", "clsact");
    attachTc(loaded, "v1", { direction: "ingress" }).close();
    assert.ok(qdiscs("v1").includes("clsact"));
    // The one who made it closes first.
    const maker = attachTc(loaded, "v0", { direction: "ingress" });
    const user = attachTc(loaded, "v0", { direction: "egress" });
    maker.close();
    assert.ok(qdiscs("v0").includes("clsact"));
    sendPackets(1);
    assert.is(map.get(0), 1n);
    user.close();
  });
});

kernel("the order follows the priority; a filter can be replaced", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using other = counter();
    using loaded = load(map, "first");
    using next = load(other, "second");
    using _late = attachTc(loaded, "v1", { direction: "ingress", priority: 20, handle: 1 });
    using early = attachTc(loaded, "v1", { direction: "ingress", priority: 10, handle: 1 });
    assert.equal(
      listTcFilters("v1").map(({ priority }) => priority),
      [10, 20],
    );
    sendPackets(1);
    assert.is(map.get(0), 2n);
    early.update(next, { expected: loaded });
    sendPackets(1);
    assert.equal([map.get(0), other.get(0)], [3n, 1n]);
    assert.throws(() => early.update(loaded, { expected: loaded }), /has another program than the one expected/);

    assert.throws(
      () => attachTc(loaded, "v1", { direction: "ingress", priority: 10, handle: 1 }),
      /^Cannot attach program "first" to tc ingress of v1: filter 1 of priority 10 with program \d+ "second" is there already\nHint: choose another handle/,
    );
    const taken = attachTc(loaded, "v1", { direction: "ingress", priority: 10, handle: 1, replace: true });
    sendPackets(1);
    assert.equal([map.get(0), other.get(0)], [5n, 1n]);
    // Its program is another one now: closing the first attachment leaves it.
    early.close();
    assert.is(listTcFilters("v1").length, 2);
    taken.close();
    assert.is(listTcFilters("v1").length, 1);
  });
});

kernel("filters of tc itself are listed", () => {
  inNewNetwork(() => {
    makeVeth();
    tool("tc", "qdisc", "add", "dev", "v1", "clsact");
    // 65535 bytes for every packet, in classic BPF.
    tool(
      "tc",
      "filter",
      "add",
      "dev",
      "v1",
      "ingress",
      "prio",
      "3",
      "handle",
      "9",
      "protocol",
      "ip",
      "bpf",
      "da",
      "bytecode",
      "1,6 0 0 65535",
    );
    tool(
      "tc",
      "filter",
      "add",
      "dev",
      "v1",
      "egress",
      "chain",
      "4",
      "prio",
      "2",
      "protocol",
      "all",
      "u32",
      "match",
      "u32",
      "0",
      "0",
    );
    assert.equal(listTcFilters("v1"), [
      {
        direction: "ingress",
        parent: 0xfffffff2,
        handle: 9,
        priority: 3,
        protocol: 0x800,
        chain: 0,
        programId: 0,
        name: "",
        tag: "",
        directAction: true,
      },
    ]);
  });
});

kernel("errors say what is wrong, and leave nothing", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using loaded = load(map);
    const before = qdiscs("v1");
    const fails = (run: () => unknown, code: string, message: RegExp): void => {
      assert.throws(run, (error: BpfError) => {
        assert.is(error.code, code);
        assert.match(error.message, message);
        return true;
      });
    };
    fails(() => attachTc(loaded, "eth7", { direction: "ingress" }), "ERR_ATTACH_TARGET", /no interface "eth7"/);
    // A parent that is not there: the filter fails behind nothing that was made.
    fails(
      () => attachTc(loaded, "v1", { parent: 0x10000 }),
      "EINVAL",
      /Cannot attach program "counter" to tc 1:0 of v1: EINVAL, \w+/,
    );
    assert.throws(() => attachTc(loaded, "v1", {}), /needs a direction or a parent/);
    assert.throws(
      () => attachTc(loaded, "v1", { direction: "ingress", priority: 65536 }),
      /priority of a filter is 0 to 65535/,
    );
    assert.throws(
      () => attachTc(loaded, "v1", { direction: "ingress", replace: true }),
      /needs its handle and priority/,
    );
    using xdp = loadProgram({ type: "xdp", instructions: counting(map, 2), license: "GPL" });
    fails(
      () => attachTc(xdp, "v1", { direction: "ingress" }),
      "ERR_TYPE_MISMATCH",
      /it is a xdp program, wanted sched_cls/,
    );
    assert.equal(qdiscs("v1"), before);
    tool("tc", "qdisc", "add", "dev", "v1", "ingress");
    fails(
      () => attachTc(loaded, "v1", { direction: "egress" }),
      "ERR_ATTACH_TARGET",
      /has a qdisc "ingress", which knows no egress\nHint: replace it: tc qdisc replace dev v1 clsact/,
    );
    attachTc(loaded, "v1", { direction: "ingress" }).close();
    assert.ok(qdiscs("v1").includes("ingress"));
  });
});

kernel("an interface that vanishes takes the filter with it", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using loaded = load(map);
    using _link = attachTc(loaded, "v0", { direction: "ingress" });
    tool("ip", "link", "delete", "v0");
  });
});

test.run();
