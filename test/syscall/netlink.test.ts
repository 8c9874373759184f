import * as fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { toHex } from "../../src/bytes/index.ts";
import { ParseError } from "../../src/errors.ts";
import { IFLA_IFNAME, ifInfoMsg, RTM_GETLINK, RTM_NEWLINK, RTM_SETLINK } from "../../src/kernel-abi/index.ts";
import { encodeStruct } from "../../src/kernel-abi/layout.ts";
import {
  encodeAttributes,
  FakeKernel,
  findInterface,
  listInterfaces,
  NetlinkAttributes,
  openNetlink,
  type SyscallError,
  withNetlink,
} from "../../src/syscall/index.ts";
import { splitMessages } from "../../src/syscall/netlink.ts";
import { acknowledge, type Datagram, done, interfaceMessage, speakNetlink } from "../links/fake-network.ts";
import { inNewNetwork, type Json, jsonOf, tool } from "../links/network.ts";
import { failOnLeaks, requires, rounds } from "../support/harness.ts";

const test = suite("netlink");
failOnLeaks(test);

const header = encodeStruct(ifInfoMsg, { ifi_index: 2 });
const request = { type: RTM_SETLINK, header, action: "Cannot change eth0" } as const;

test("attributes are padded, nested, and in the byte order of the machine", () => {
  const table: [Parameters<typeof encodeAttributes>[0], string][] = [
    [[[1, 0xfffffffe]], "08000100feffffff"],
    [[[3, "lo"]], "070003006c6f0000"],
    [[[5, true]], "04000500"],
    [[[7, Uint8Array.of(1, 2, 3, 4, 5)]], "090007000102030405000000"],
    [
      [
        [
          9,
          [
            [1, 2],
            [2, undefined],
            [3, "a"],
          ],
        ],
      ],
      "140009800800010002000000060003006100" + "0000",
    ],
    [[[4, undefined]], ""],
  ];
  for (const [attributes, hex] of table) assert.is(toHex(encodeAttributes(attributes)), hex);
  assert.throws(() => encodeAttributes([[1, new Uint8Array(65532)]]), /Netlink attribute 1 has 65532 bytes/);
  assert.throws(() => encodeAttributes([[1, -1]]), RangeError);
  assert.throws(() => encodeAttributes([[1, "a\0b"]]), /may not contain NUL/);
});

test("what is encoded is read back", () => {
  const leaf = fc.oneof(
    fc.nat(0xffffffff),
    fc.uint8Array({ maxLength: 40 }),
    fc.string({ maxLength: 9 }).map((text) => text.replaceAll("\0", "")),
  );
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.nat(0x3fff), { maxLength: 6 }),
      fc.array(leaf, { minLength: 6, maxLength: 6 }),
      (types, values) => {
        const bytes = encodeAttributes([[1, types.map((type, i) => [type, values[i]!])]]);
        const nest = new NetlinkAttributes(bytes).nest(1);
        types.forEach((type, i) => {
          const value = values[i]!;
          if (typeof value === "number") assert.is(nest.number(type), value);
          else if (typeof value === "string") assert.is(nest.text(type), Buffer.from(value).toString());
          else assert.equal(nest.bytes(type), value);
        });
      },
    ),
    { numRuns: rounds(200, 5000) },
  );
});

test("any bytes are read, or refused with a place", () => {
  const attempt = (run: () => unknown): void => {
    try {
      run();
    } catch (error) {
      assert.ok(error instanceof ParseError, String(error));
    }
  };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      attempt(() => new NetlinkAttributes(bytes).nest(1).texts(2));
      attempt(() => splitMessages(bytes));
    }),
    { numRuns: rounds(500, 20000) },
  );
  assert.throws(() => new NetlinkAttributes(Uint8Array.of(3, 0, 1, 0)), /length is 3, expected at least 4/);
  assert.throws(() => splitMessages(new Uint8Array(16)), /length is 0, expected at least 16/);
});

function exchange(answer: readonly (readonly Datagram[])[]): {
  kernel: FakeKernel;
  sent: ReturnType<typeof speakNetlink>;
} {
  const kernel = new FakeKernel();
  let turn = 0;
  const sent = speakNetlink(kernel, { answer: () => answer[turn++] ?? [{ messages: [acknowledge("EPROTO")] }] });
  return { kernel, sent };
}

function fails(answer: readonly Datagram[], code: string, message: RegExp): void {
  const { kernel } = exchange([answer]);
  try {
    withNetlink(kernel.backend, (socket) => socket.request(request));
    assert.unreachable();
  } catch (error) {
    assert.is((error as SyscallError).code, code);
    assert.match((error as SyscallError).message, message);
    assert.is((error as SyscallError).command, "RTM_SETLINK");
  }
  assert.equal(kernel.open, []);
}

test("a request is acknowledged; a warning is passed on", () => {
  const { kernel, sent } = exchange([[{ messages: [acknowledge(undefined, "odd, but done")] }]]);
  const reply = withNetlink(kernel.backend, (socket) =>
    socket.request({ ...request, flags: ["create", "exclusive"], attributes: [[IFLA_IFNAME, "x"]] }),
  );
  assert.equal(reply, { messages: [], warning: "odd, but done" });
  // NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL
  assert.is(sent[0]!.flags, 0x605);
  assert.is(toHex(sent[0]!.payload), `${toHex(header)}0600030078000000`);
  assert.equal(kernel.open, []);
});

test("failures tell the kernel's own words", () => {
  fails(
    [{ messages: [acknowledge("ENOENT", "Parent Qdisc doesn't exists")] }],
    "ENOENT",
    /^Cannot change eth0: ENOENT, Parent Qdisc doesn't exists$/,
  );
  fails([{ messages: [acknowledge("EINVAL")] }], "EINVAL", /^Cannot change eth0: EINVAL, invalid argument$/);
  fails(["ENOBUFS"], "ENOBUFS", /the kernel's answer was lost, so it is not known whether it was done/);
  fails(["EAGAIN"], "EAGAIN", /the kernel did not answer/);
});

test("signals, other senders and answers to others are passed over", () => {
  const noise: Datagram[] = [
    "EINTR",
    { messages: [acknowledge("EIO")], sender: 4711 },
    { messages: [{ ...acknowledge("EIO"), sequence: 999 }] },
    "EINTR",
    { messages: [acknowledge()] },
  ];
  const { kernel } = exchange([noise]);
  withNetlink(kernel.backend, (socket) => socket.request(request));
});

test("an answer may be large", () => {
  const large = { type: RTM_NEWLINK, payload: new Uint8Array(100_000).fill(7) };
  const { kernel } = exchange([[{ messages: [large, acknowledge()] }]]);
  const { messages } = withNetlink(kernel.backend, (socket) => socket.request(request));
  assert.equal(messages, [large]);
});

test("a list comes in parts; one that changed, or lost a part, is asked for again", () => {
  const NLM_F_DUMP_INTR = 0x10;
  const part = (name: string, flags = 0): Datagram => ({ messages: [{ ...interfaceMessage(1, name), flags }] });
  const rounds = [
    [part("a"), part("b", NLM_F_DUMP_INTR), { messages: [done] }],
    [part("a"), "ENOBUFS", part("c"), { messages: [done] }],
    [part("a"), part("b"), part("c"), { messages: [done] }],
  ] satisfies Datagram[][];
  const { kernel, sent } = exchange(rounds);
  const messages = withNetlink(kernel.backend, (socket) =>
    socket.dump({ type: RTM_GETLINK, header, action: "Cannot list" }),
  );
  assert.is(messages.length, 3);
  assert.equal(
    sent.map(({ sequence, flags }) => [sequence, flags]),
    [
      [1, 0x301],
      [2, 0x301],
      [3, 0x301],
    ],
  );
});

test("a socket that cannot be bound is closed", () => {
  const kernel = new FakeKernel();
  speakNetlink(kernel);
  kernel.onCall("bind", () => "EADDRINUSE");
  assert.throws(() => openNetlink(kernel.backend), /Cannot open a netlink socket: EADDRINUSE/);
  assert.equal(kernel.open, []);
});

test("interfaces are found by name, other name and number", () => {
  const kernel = new FakeKernel();
  speakNetlink(kernel, { interfaces: [interfaceMessage(7, "3", { kind: "veth", program: 12 })] });
  const options = { backend: kernel.backend };
  assert.is(findInterface("eth0", options).index, 2);
  assert.is(findInterface(2, options).name, "eth0");
  // A name of digits is a name.
  assert.is(findInterface("3", options).index, 7);
  assert.is(findInterface("2", options).index, 2);
  assert.equal(findInterface(7, options).xdp, { mode: "driver", programs: { driver: 12 } });
  assert.throws(() => findInterface("eht0", options), /no interface "eht0"\nHint: Did you mean "eth0"\?/);
  assert.throws(() => findInterface(9, options), /no interface number 9\nHint: It has lo, eth0, 3$/);
});

requires(
  test,
  "net-admin",
  "sys-admin",
  "koffi",
  "tool:ip",
)("interfaces are those of iproute2", () => {
  inNewNetwork(() => {
    for (let i = 0; i < 40; i++) tool("ip", "link", "add", `a${i}`, "type", "veth", "peer", "name", `b${i}`);
    tool("ip", "link", "set", "a3", "mtu", "9000", "up");
    tool("ip", "link", "property", "add", "dev", "a4", "altname", "another-name", "altname", "third");
    const shown: Json[] = jsonOf("ip", "-d", "link", "show");
    const listed = listInterfaces();
    assert.equal(
      listed.map(({ index, name, mtu, up, kind, otherNames }) => [index, name, mtu, up, kind, otherNames]),
      shown.map((one) => [
        one.ifindex,
        one.ifname,
        one.mtu,
        one.flags.includes("UP"),
        one.linkinfo?.info_kind,
        one.altnames ?? [],
      ]),
    );
    assert.is(findInterface("third").name, "a4");
    console.log(`NOTE ${listed.length} interfaces agree with iproute2`);
  });
});

test.run();
