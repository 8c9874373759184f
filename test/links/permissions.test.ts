import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exit, mov, r0 } from "../../src/asm/index.ts";
import {
  attachCgroup,
  attachLwt,
  attachTc,
  attachTcx,
  attachXdp,
  Link,
  listTcFilters,
  queryAttached,
} from "../../src/links/index.ts";
import { loadProgram } from "../../src/programs/index.ts";
import { effectiveCapabilities, kernelBuffer, openBackend, type SyscallError } from "../../src/syscall/index.ts";
import { failOnLeaks, requires } from "../support/harness.ts";
import { inNewNetwork, jsonOf, makeVeth, withCgroup } from "./network.ts";

const test = suite("attaching without privileges");
failOnLeaks(test);

const CAP_NET_ADMIN = 12;
/** It stands in for the other one in some places. */
const CAP_SYS_ADMIN = 21;
const CAPABILITY_VERSION_3 = 0x20080522;
const NUMBERS = { x64: { capget: 125, capset: 126 }, arm64: { capget: 90, capset: 91 } };

/** Runs something while this thread does without capabilities, which it may take back. */
function without(capabilities: readonly number[], run: () => void): void {
  const backend = openBackend();
  const { capget, capset } = NUMBERS[backend.architecture];
  const head = kernelBuffer(8);
  new DataView(head.buffer).setUint32(0, CAPABILITY_VERSION_3, true);
  const data = kernelBuffer(24);
  assert.is(backend.syscall(capget, backend.addressOf(head), backend.addressOf(data)), 0);
  const less = kernelBuffer(24);
  less.set(data);
  const view = new DataView(less.buffer);
  // Effective, permitted, inheritable: each in two words, the first of which are together.
  view.setUint32(
    0,
    capabilities.reduce((bits, capability) => bits & ~(1 << capability), view.getUint32(0, true)),
    true,
  );
  assert.is(backend.syscall(capset, backend.addressOf(head), backend.addressOf(less)), 0);
  try {
    run();
  } finally {
    assert.is(backend.syscall(capset, backend.addressOf(head), backend.addressOf(data)), 0);
  }
}

requires(
  test,
  "bpf",
  "net-admin",
  "sys-admin",
  "koffi",
  "tool:ip",
  "tool:tc",
)("what is missing is named, and nothing is left", () => {
  inNewNetwork(() => {
    makeVeth();
    withCgroup((cgroup) => {
      const instructions = [mov(r0, 0), exit()];
      using xdp = loadProgram({ type: "xdp", instructions, name: "p" });
      using cls = loadProgram({ type: "sched_cls", instructions, name: "p" });
      using skb = loadProgram({
        type: "cgroup_skb",
        expectedAttachType: "cgroup_inet_egress",
        instructions,
        name: "p",
      });
      using lwt = loadProgram({ type: "lwt_out", instructions, name: "p" });
      const attempts: Record<string, () => object> = {
        xdp: () => attachXdp(xdp, "v1", { link: false }),
        tc: () => attachTc(cls, "v1", { direction: "ingress" }),
        cgroup: () => attachCgroup(skb, cgroup),
        "cgroup without a link": () => attachCgroup(skb, cgroup, { link: false }),
        route: () => attachLwt(lwt, { destination: "10.9.0.0/16", interface: "v0" }),
        query: () => queryAttached({ interface: "v1" }, "tcx_ingress"),
      };
      const found: Record<string, string> = {};
      without([CAP_NET_ADMIN, CAP_SYS_ADMIN], () => {
        assert.not.ok(effectiveCapabilities()!.has("CAP_NET_ADMIN"));
        for (const [name, attempt] of Object.entries(attempts)) {
          try {
            const made = attempt();
            if (made instanceof Link) made.close();
            found[name] = "nothing";
          } catch (error) {
            found[name] = `${(error as SyscallError).code}: ${(error as SyscallError).hint}`;
          }
        }
        // Looking is allowed.
        assert.equal(listTcFilters("v1"), []);
      });
      const wanted = "EPERM: needs CAP_NET_ADMIN; run as root or grant CAP_NET_ADMIN";
      const all = Object.fromEntries(Object.keys(attempts).map((name) => [name, wanted]));
      // The kernel's own answer there is EINVAL.
      assert.equal(found, { ...all, "cgroup without a link": wanted.replace("EPERM", "EINVAL") });
      assert.not.ok(jsonOf("tc", "qdisc", "show", "dev", "v1").some(({ kind }: { kind: string }) => kind === "clsact"));
      assert.equal(queryAttached({ cgroup }, "cgroup_inet_egress").programs, []);
      attachTcx(cls, "v1", { direction: "ingress" }).close();
    });
  });
});

test.run();
