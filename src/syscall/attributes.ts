import { decodeCString, encodeUtf8, Reader, Writer } from "../bytes/index.ts";
import { nlAttr } from "../kernel-abi/index.ts";

const NLA_F_NESTED = 0x8000;
/** `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER` share the field with the type. */
const NLA_TYPE_MASK = 0x3fff;
const MAX_ATTRIBUTE = 0xffff;

/**
 * What a netlink attribute carries: a number is a u32, text gets a NUL behind it, `true` is a flag without content, a list
 * is a nest.
 */
export type NetlinkValue = number | string | true | Uint8Array | readonly NetlinkAttribute[];

/** A netlink attribute to send: its type, and what it carries; those of `undefined` are left out. */
export type NetlinkAttribute = readonly [type: number, value: NetlinkValue | undefined];

/**
 * Encodes netlink attributes: each one padded to 4 bytes, in the byte order of the machine.
 *
 * @param attributes types and values
 * @throws RangeError for a number that is no u32, or content above 65531 bytes
 */
export function encodeAttributes(attributes: readonly NetlinkAttribute[]): Uint8Array {
  const writer = new Writer();
  for (const [type, value] of attributes) {
    if (value === undefined) continue;
    const isNest = Array.isArray(value);
    const content = encodeValue(value);
    const length = nlAttr.size + content.length;
    if (length > MAX_ATTRIBUTE) throw new RangeError(`Netlink attribute ${type} has ${content.length} bytes`);
    writer.u16(length).u16(isNest ? type | NLA_F_NESTED : type);
    writer.bytes(content).align(4);
  }
  return writer.finish();
}

function encodeValue(value: NetlinkValue): Uint8Array {
  if (value === true) return new Uint8Array(0);
  if (typeof value === "number") return new Writer({ capacity: 4 }).u32(value).finish();
  if (typeof value === "string") {
    if (value.includes("\0")) throw new TypeError(`Text for the kernel may not contain NUL: ${JSON.stringify(value)}`);
    return encodeUtf8(`${value}\0`);
  }
  return value instanceof Uint8Array ? value : encodeAttributes(value as readonly NetlinkAttribute[]);
}

/** Netlink attributes as they were received. Of several with one type the last one counts, save in lists. */
export class NetlinkAttributes {
  readonly #entries: { readonly type: number; readonly content: Uint8Array }[] = [];

  /**
   * @param bytes attributes one behind the other
   * @throws ParseError when an attribute does not fit into them
   */
  constructor(bytes: Uint8Array) {
    const reader = new Reader(bytes, { path: "netlink attribute" });
    while (reader.remaining >= nlAttr.size) {
      const start = reader.position;
      const length = reader.u16();
      const type = reader.u16() & NLA_TYPE_MASK;
      if (length < nlAttr.size) throw reader.fail(`length is ${length}, expected at least ${nlAttr.size}`, start);
      this.#entries.push({ type, content: reader.take(length - nlAttr.size) });
      const padding = -length & 3;
      if (padding > reader.remaining) break;
      reader.skip(padding);
    }
  }

  /** Content of an attribute: a view. */
  bytes(type: number): Uint8Array | undefined {
    return this.#entries.findLast((entry) => entry.type === type)?.content;
  }

  /** Content as an unsigned number of 8, 16 or 32 bits, whatever it has. */
  number(type: number): number | undefined {
    const bytes = this.bytes(type);
    if (bytes === undefined) return undefined;
    const reader = new Reader(bytes, { path: `netlink attribute ${type}` });
    if (bytes.length >= 4) return reader.u32();
    return bytes.length >= 2 ? reader.u16() : reader.u8();
  }

  /** Content as text. */
  text(type: number): string | undefined {
    const bytes = this.bytes(type);
    return bytes === undefined ? undefined : decodeCString(bytes);
  }

  /** Contents of all attributes of a type, as text. */
  texts(type: number): readonly string[] {
    return this.#entries.filter((entry) => entry.type === type).map(({ content }) => decodeCString(content));
  }

  /** Content as attributes; none when it is missing. */
  nest(type: number): NetlinkAttributes {
    return new NetlinkAttributes(this.bytes(type) ?? new Uint8Array(0));
  }
}
