import { isIPv4, isIPv6 } from "node:net";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  formatIpv4,
  formatIpv6,
  ipv4,
  ipv4Prefix,
  ipv6,
  ipv6Prefix,
  parseIpv4,
  parseIpv6,
  toHex,
} from "../../src/bytes/index.ts";
import { rounds } from "../support/harness.ts";

const test = suite("IP addresses");

const V6: readonly (readonly [text: string, hex: string, written?: string])[] = [
  ["::", "00000000000000000000000000000000"],
  ["::1", "00000000000000000000000000000001"],
  ["1::", "00010000000000000000000000000000"],
  ["2001:db8::1", "20010db8000000000000000000000001"],
  ["2001:DB8:0:0:1:0:0:1", "20010db8000000000001000000000001", "2001:db8::1:0:0:1"],
  ["2001:db8:0:1:1:1:1:1", "20010db8000000010001000100010001"],
  ["1:0:0:2:0:0:0:3", "00010000000000020000000000000003", "1:0:0:2::3"],
  ["::ffff:192.0.2.1", "00000000000000000000ffffc0000201"],
  ["64:ff9b::192.0.2.33", "0064ff9b0000000000000000c0000221", "64:ff9b::c000:221"],
  ["1:2:3:4:5:6:7::", "00010002000300040005000600070000", "1:2:3:4:5:6:7:0"],
];

for (const [text, hex, written] of V6) {
  test(`${text} is ${hex}`, () => {
    assert.is(toHex(parseIpv6(text)), hex);
    assert.is(formatIpv6(parseIpv6(text)), written ?? text);
  });
}

const WRONG = ["", "1", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", "-1.2.3.4", ":", ":::", "1::2::3", "12345::",
  "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8::", "::1.2.3", "1.2.3.4::", "g::", "fe80::1%eth0", "::ffff:1.2.3.4:5"]; // biome-ignore format: a list

test("what is no address is refused", () => {
  for (const text of WRONG) {
    assert.throws(() => parseIpv4(text), /is no IPv4 address/);
    assert.throws(() => parseIpv6(text), /is no IPv6 address/);
  }
});

test("addresses come back, and the runtime takes and refuses the same texts", () => {
  const four = fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (bytes) => {
    const text = formatIpv4(bytes);
    assert.equal([...parseIpv4(text)], [...bytes]);
    assert.is(ipv4.decode(ipv4.encode(text)), text);
  });
  const part = fc.oneof(fc.constant(0), fc.nat(0xffff));
  const six = fc.property(fc.array(part, { minLength: 8, maxLength: 8 }), (groups) => {
    const bytes = Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255]));
    const text = formatIpv6(bytes);
    assert.ok(isIPv6(text), text);
    assert.equal([...parseIpv6(text)], [...bytes]);
    assert.is(ipv6.decode(ipv6.encode(text)), text);
  });
  const words = fc.array(fc.constantFrom("0", "1", "ff", "abcd", "10000", ":", "::", ".", "1.2.3.4", "255", "256"), {
    maxLength: 9,
  });
  const any = fc.property(words, (list) => {
    const text = list.join("");
    const takes = (parse: (text: string) => unknown): boolean => {
      try {
        parse(text);
        return true;
      } catch {
        return false;
      }
    };
    assert.is(takes(parseIpv4), isIPv4(text), text);
    assert.is(takes(parseIpv6), isIPv6(text), text);
  });
  for (const property of [four, six, any])
    fc.assert(property as fc.IProperty<unknown>, { numRuns: rounds(1000, 20000) });
});

test("prefixes have the length first, and zeros behind", () => {
  assert.is(toHex(ipv4Prefix.encode("192.0.2.255/25")), "19000000c0000280");
  assert.is(toHex(ipv4Prefix.encode("192.0.2.255")), "20000000c00002ff");
  assert.is(toHex(ipv4Prefix.encode("1.2.3.4/0")), "0000000000000000");
  assert.is(toHex(ipv6Prefix.encode("2001:db8:ffff::/33")), "2100000020010db8800000000000000000000000");
  assert.is(ipv6Prefix.decode(ipv6Prefix.encode("::1")), "::1/128");
  for (const text of ["1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/08", "/8", "1.2.3/8", "1.2.3.4/8/9"]) {
    assert.throws(
      () => ipv4Prefix.encode(text),
      (error: Error) => error instanceof RangeError,
      text,
    );
  }
  assert.throws(() => ipv6Prefix.encode("::/129"), /prefix length of at most 128/);
});

test.run();
