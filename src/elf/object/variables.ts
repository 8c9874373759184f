// Browser-safe.

import { codec } from "../../btf/index.ts";
import { bytes, type Codec, closest } from "../../bytes/index.ts";
import { BpfError } from "../../errors.ts";
import type { ObjectMapSpec, ObjectSpec, VariableSpec } from "./spec.ts";

/**
 * The first value of a variable: what a program finds when it is loaded now.
 *
 * @param spec the object
 * @param name a key of `spec.variables`
 * @returns the value as its type has it, see `codec`; a copy of its bytes when the object does not tell its type
 * @throws BpfError `ERR_OBJECT` when there is no such variable, or it is of another size than its type; BtfError when
 *   its type has no values
 *
 * @example
 * ```ts no-run
 * import { getVariable, parseObject, setVariable } from "rawbpf/elf";
 *
 * declare const bytes: Uint8Array;
 * const spec = parseObject(bytes);
 * setVariable(spec, "target_pid", 42);
 * getVariable(spec, "target_pid"); // 42
 * ```
 */
export function getVariable(spec: ObjectSpec, name: string): unknown {
  const { variable, map } = find(spec, name);
  const { offset, size } = variable;
  // What is not there is 0.
  const value = new Uint8Array(size);
  value.set(map.contents.subarray(offset, offset + size));
  return codecOf(spec, variable).decode(value);
}

/**
 * Gives a variable another first value, a constant one too.
 *
 * @param spec the object; changed
 * @param name a key of `spec.variables`
 * @param value as {@link getVariable} gives it
 * @throws BpfError `ERR_OBJECT` when there is no such variable, or it is of another size than its type; BtfError when
 *   its type has no values; TypeError, RangeError for a value that its type cannot hold
 */
export function setVariable(spec: ObjectSpec, name: string, value: unknown): void {
  const { variable, map } = find(spec, name);
  const { offset, size } = variable;
  const encoded = new Uint8Array(size);
  codecOf(spec, variable).encodeInto(value, encoded);
  if (map.contents.length < offset + size) {
    const longer = new Uint8Array(offset + size);
    longer.set(map.contents);
    map.contents = longer;
  }
  map.contents.set(encoded, offset);
}

function find(spec: ObjectSpec, name: string): { readonly variable: VariableSpec; readonly map: ObjectMapSpec } {
  const variable = Object.hasOwn(spec.variables, name) ? spec.variables[name] : undefined;
  const map = variable === undefined ? undefined : spec.maps[variable.map];
  if (variable !== undefined && map !== undefined) return { variable, map };
  const near = closest(name, Object.keys(spec.variables));
  const hint = near === undefined ? undefined : `Did you mean "${near}"?`;
  throw new BpfError("ERR_OBJECT", `No variable "${name}" in the object`, { hint });
}

function codecOf({ btf }: ObjectSpec, { name, type, size }: VariableSpec): Codec<unknown> {
  if (btf !== undefined && type !== 0) {
    // A struct that ends in a flexible array takes more than its type when it has first elements.
    const isLonger = btf.sizeOf(type) !== size;
    try {
      // For a single value, compiling a decoder takes longer than it saves.
      return codec(btf, type, { codegen: false, size: isLonger ? size : undefined });
    } catch (cause) {
      if (!(cause instanceof RangeError)) throw cause;
      throw new BpfError("ERR_OBJECT", `Variable "${name}" is not of its type: ${cause.message}`, { cause });
    }
  }
  return bytes(size) as unknown as Codec<unknown>;
}
