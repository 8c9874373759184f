import { writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { BpfError } from "../../src/errors.ts";
import { attachLwt, type LwtRoute } from "../../src/links/index.ts";
import type { BpfMap } from "../../src/maps/index.ts";
import { loadProgram, type Program } from "../../src/programs/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { counter, counting } from "./counter.ts";
import { inNewNetwork, type Json, jsonOf, makeVeth, sendFrames, sendPackets, tool } from "./network.ts";

const test = suite("routes with programs");
failOnLeaks(test);
const kernel = requires(test, "bpf", "net-admin", "sys-admin", "koffi", "tool:ip");

function load(type: "lwt_in" | "lwt_out" | "lwt_xmit", map: BpfMap<number, bigint>): Program {
  return loadProgram({ type, instructions: counting(map), license: "GPL", name: "p" });
}

for (const type of ["lwt_out", "lwt_xmit"] as const) {
  kernel(`${type} counts what takes the route, while it is there`, () => {
    inNewNetwork(() => {
      makeVeth();
      tool("ip", "neigh", "add", "10.78.0.5", "lladdr", "02:00:00:00:00:01", "dev", "v0");
      using map = counter();
      using loaded = load(type, map);
      {
        using link = attachLwt(loaded, {
          destination: "10.78.0.0/16",
          interface: "v0",
          metric: 7,
          ...(type === "lwt_xmit" ? { headroom: 20 } : {}),
        });
        assert.is(link.target, "route to 10.78.0.0/16");
        sendPackets(3, "10.78.0.5");
        assert.is(map.get(0), 3n);
        const shown: Json = jsonOf("ip", "-d", "route", "show", "10.78.0.0/16")[0];
        assert.equal([shown.dst, shown.dev, shown.metric, shown.encap], ["10.78.0.0/16", "v0", 7, "bpf"]);
        assert.throws(
          () => attachLwt(loaded, { destination: "10.78.0.0/16", interface: "v0", metric: 7 }),
          (error: BpfError) =>
            error.code === "EEXIST" && /Cannot attach program "p" to route to 10\.78/.test(error.message),
        );
      }
      assert.equal(jsonOf("ip", "route", "show", "10.78.0.0/16"), []);
      assert.is(map.get(0), 3n);
    });
  });
}

kernel("lwt_in counts what comes in and takes the route, while it is there", () => {
  inNewNetwork(() => {
    makeVeth();
    // Of what this machine passes on the route is asked when it comes in.
    writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
    for (const name of ["all", "v1"]) writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, "0");
    using map = counter();
    using loaded = load("lwt_in", map);
    {
      using _link = attachLwt(loaded, { destination: "10.78.0.0/16", interface: "v0" });
      sendFrames(3, "v0", "v1", "10.78.0.5");
      sendFrames(3, "v0", "v1", "10.79.0.5");
      assert.is(map.get(0), 3n);
    }
    sendFrames(3, "v0", "v1", "10.78.0.5");
    assert.is(map.get(0), 3n);
  });
});

kernel("lwt_in is attached to a route, and seen there", () => {
  inNewNetwork(() => {
    tool("ip", "link", "set", "lo", "up");
    using map = counter();
    using loaded = load("lwt_in", map);
    using link = attachLwt(loaded, { destination: "fd00:1::/64", interface: "lo", table: 100 });
    const [shown]: Json[] = jsonOf("ip", "-6", "-d", "route", "show", "table", "100");
    assert.equal([shown.dst, shown.encap], ["fd00:1::/64", "bpf"]);
    link.close();
    assert.equal(jsonOf("ip", "-6", "route", "show", "table", "100"), []);
  });
});

kernel("errors say what is wrong, and a route that is gone is no fault", () => {
  inNewNetwork(() => {
    makeVeth();
    using map = counter();
    using loaded = load("lwt_out", map);
    const fails = (route: LwtRoute, message: RegExp): void =>
      void assert.throws(
        () => attachLwt(loaded, route),
        (error: Error) => {
          assert.match(error.message, message);
          return true;
        },
      );
    fails({ destination: "10.78.0.0/33", interface: "v0" }, /has no prefix length from 0 to 32/);
    fails({ destination: "nonsense", interface: "v0" }, /nonsense/);
    fails({ destination: "10.78.0.0/16", interface: "v9" }, /no interface "v9"\nHint: Did you mean/);
    fails({ destination: "10.78.0.0/16", interface: "v0", gateway: "fd00::1" }, /of another family/);
    fails({ destination: "10.78.0.0/16", interface: "v0", headroom: 257 }, /0 to 256 bytes/);
    fails({ destination: "10.78.0.0/16", interface: "v0", gateway: "10.99.0.1" }, /ENETUNREACH, ./);
    tool("ip", "link", "set", "v1", "down");
    fails(
      { destination: "10.78.0.0/16", interface: "v1" },
      /Cannot attach program "p" to route to 10\.78\.0\.0\/16: ENETDOWN, ./,
    );
    using _link = attachLwt(loaded, { destination: "10.79.0.0/16", interface: "v0", gateway: "10.77.0.2" });
    tool("ip", "link", "delete", "v0");
  });
});

test.run();
