import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import { attachXdp, queryAttached } from "../../src/links/index.ts";
import type { BpfMap } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { findInterface, type SyscallError } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";
import { inNewNetwork, type Json, jsonOf, makeVeth, sendPackets, tool } from "./network.ts";

const test = suite("xdp links");
failOnLeaks(test);
const kernel = requires(test, "bpf", "net-admin", "sys-admin", "koffi", "tool:ip", "tool:bpftool");

const XDP_PASS = 2;

function load(map: BpfMap<number, bigint>, name = "counter"): Program {
  return loadProgram({ type: "xdp", instructions: counting(map, XDP_PASS), license: "GPL", name });
}

for (const link of [true, false]) {
  for (const mode of ["generic", "driver", undefined] as const) {
    kernel(`${mode ?? "any"} mode, ${link ? "with" : "without"} a link: counts while attached`, () => {
      inNewNetwork(() => {
        makeVeth();
        using map = counter();
        using loaded = load(map);
        {
          using attached = attachXdp(loaded, "v1", { mode, link });
          assert.is(attached.type, link ? "xdp" : undefined);
          sendPackets(5);
          assert.is(map.get(0), 5n);
          const { xdp, index } = findInterface("v1");
          const where = mode ?? "driver";
          assert.is(xdp.mode, where);
          const id = xdp.programs[where]!;
          assert.equal(queryAttached({ interface: index }, "xdp").programs, [
            { programId: id, linkId: link ? attached.id : 0, flags: where === "driver" ? 1 : 2 },
          ]);
          // What iproute2 and bpftool see.
          const shown = jsonOf("ip", "link", "show", "v1")[0].xdp;
          assert.is(shown.prog.id, id);
          assert.is(shown.mode, where === "driver" ? 1 : 2);
          const net = jsonOf("bpftool", "net", "show")[0].xdp;
          assert.is(net.length, 1);
          assert.is(net[0].id ?? net[0].prog_id, id);
          if (link) assert.ok(jsonOf("bpftool", "link", "show").some((one: Json) => one.id === attached.id));
        }
        sendPackets(5);
        assert.is(map.get(0), 5n);
        assert.equal(findInterface("v1").xdp, { mode: undefined, programs: {} });
      });
    });
  }

  kernel(`another program takes its place, ${link ? "with" : "without"} a link`, () => {
    inNewNetwork(() => {
      makeVeth();
      using first = counter();
      using second = counter();
      const before = load(first);
      using after = load(second);
      using attached = attachXdp(before, "v1", { link });
      sendPackets(2);
      attached.update(after, { expected: before });
      before.close();
      sendPackets(3);
      assert.equal([first.get(0), second.get(0)], [2n, 3n]);
      using other = load(first);
      assert.throws(() => attached.update(other, { expected: other }));
      sendPackets(1);
      assert.is(second.get(0), 4n);
    });
  });
}

kernel("an expected program is replaced, another one is not", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using first = load(map, "first");
    using second = load(map, "second");
    using third = load(map, "third");
    using one = attachXdp(first, "v1", { link: false });
    assert.throws(
      () => attachXdp(third, "v1", { expected: second }),
      /^Cannot attach program "third" to xdp of v1: EEXIST, Active program does not match expected$/,
    );
    using two = attachXdp(second, "v1", { expected: first });
    assert.is(two.type, undefined);
    // The first one has nothing left to take back.
    one.close();
    assert.is(findInterface("v1").xdp.mode, "driver");
  });
});

kernel("who is in the way is said", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using loaded = load(map, "mine");
    using other = load(map, "theirs");
    using _link = attachXdp(other, "v1");
    const expectBusy = (options: object, code: string): void => {
      try {
        attachXdp(loaded, "v1", options);
        assert.unreachable();
      } catch (error) {
        assert.is((error as SyscallError).code, code);
        assert.match((error as SyscallError).message, /program \d+ "theirs" \(driver\)|already attached|Can't replace/);
      }
    };
    expectBusy({}, "EBUSY");
    expectBusy({ mode: "generic" }, "EEXIST");
    expectBusy({ link: false }, "EBUSY");
  });
});

kernel("errors say what is wrong, and leave nothing", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using loaded = load(map);
    const fails = (run: () => unknown, code: string, message: RegExp): void => {
      assert.throws(run, (error: BpfError) => {
        assert.is(error.code, code);
        assert.match(error.message, message);
        return true;
      });
    };
    fails(() => attachXdp(loaded, "v2"), "ERR_ATTACH_TARGET", /no interface "v2"\nHint: Did you mean "v[01]"\?/);
    fails(() => attachXdp(loaded, 4711), "ERR_ATTACH_TARGET", /no interface number 4711\nHint: It has lo, /);
    fails(
      () => attachXdp(loaded, "lo", { mode: "driver" }),
      "EOPNOTSUPP",
      /the driver of lo has no XDP in driver mode/,
    );
    fails(
      () => attachXdp(loaded, "v1", { mode: "offload" }),
      "EINVAL",
      /Cannot attach program "counter" to xdp of v1: EINVAL, ./,
    );
    using devmap = loadProgram({
      type: "xdp",
      expectedAttachType: "xdp_devmap",
      instructions: counting(map, XDP_PASS),
      license: "GPL",
    });
    fails(
      () => attachXdp(devmap, "v1"),
      "ERR_TYPE_MISMATCH",
      /it was loaded for xdp_devmap\nHint: such programs go into/,
    );
    assert.equal(findInterface("v1").xdp.programs, {});
  });
});

kernel("an interface that vanishes takes the program with it", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using loaded = load(map);
    const links = [attachXdp(loaded, "v0"), attachXdp(loaded, "v1", { link: false })];
    tool("ip", "link", "delete", "v0");
    for (const link of links) link.close();
  });
});

test.run();
