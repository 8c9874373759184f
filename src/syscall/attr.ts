import { encodeStruct, type FieldLayout, type StructInput, type StructLayout } from "../kernel-abi/layout.ts";
import type { SyscallBackend } from "./backend.ts";
import { kernelBuffer } from "./call.ts";
import { kernelString } from "./mount.ts";
import type { TraceValue } from "./trace.ts";

/** What an attribute takes: numbers; text for a name or path; for a pointer, the bytes it is to point at. */
export type AttrValue<F extends FieldLayout> = F["type"] extends "pointer"
  ? number | bigint | string | Uint8Array
  : F["type"] extends "chars"
    ? string
    : number | bigint;

/** Attributes of a call, by field name of the layout; missing ones are 0. */
export type AttrValues<L extends StructLayout> = {
  readonly [F in keyof L["fields"]]?: AttrValue<L["fields"][F]> | undefined;
};

/** Encoded attributes: bytes for the kernel, what they point at, and the values they came from. */
export interface EncodedAttr {
  /** The attributes, a buffer of their own, zero where nothing was set. */
  readonly bytes: Uint8Array;
  /** Its address. */
  readonly address: number;
  /** Buffers the attributes point at: they must stay reachable until the call has returned. */
  readonly held: readonly Uint8Array[];
  /** The values, for traces. */
  readonly values: { readonly [name: string]: TraceValue };
  /** Reads a 32-bit field after the call: the kernel writes some back. */
  readU32(offset: number): number;
}

/**
 * Encodes attributes by a layout. Text behind a pointer becomes a NUL-terminated copy; bytes behind a pointer are
 * pointed at themselves, so the kernel may write into them.
 *
 * @param backend shim, for addresses
 * @param layout fields of the attributes
 * @param values by field name; missing ones are 0
 * @throws RangeError when a value does not fit its field, TypeError when there is no such field
 */
export function encodeAttr<const L extends StructLayout>(
  backend: SyscallBackend,
  layout: L,
  values: AttrValues<L>,
): EncodedAttr {
  const plain: Record<string, number | bigint | string> = {};
  const held: Uint8Array[] = [];
  for (const [name, value] of Object.entries(values) as [string, number | bigint | string | Uint8Array | undefined][]) {
    if (value === undefined) continue;
    const isText = typeof value === "string" && layout.fields[name]?.type === "pointer";
    if (isText || value instanceof Uint8Array) {
      const buffer = isText ? kernelString(value as string) : (value as Uint8Array);
      held.push(buffer);
      if (buffer.length > 0) plain[name] = backend.addressOf(buffer);
    } else {
      plain[name] = value;
    }
  }
  const bytes = kernelBuffer(layout.size);
  bytes.set(encodeStruct<StructLayout>(layout, plain as StructInput<StructLayout>));
  const view = new DataView(bytes.buffer);
  return {
    bytes,
    address: backend.addressOf(bytes),
    held,
    values: values as { readonly [name: string]: TraceValue },
    readU32: (offset) => view.getUint32(offset, true),
  };
}
