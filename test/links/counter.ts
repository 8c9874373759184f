import {
  add,
  atomic,
  call,
  exit,
  type Instruction,
  jeq,
  label,
  ldMap,
  mov,
  program,
  r0,
  r1,
  r2,
  r10,
  store,
} from "../../src/asm/index.ts";
import { type BpfMap, createMap, u32, u64 } from "../../src/maps/index.ts";

/** A map with one number, for {@link counting}. */
export function counter(): BpfMap<number, bigint> {
  return createMap({ type: "array", name: "count", key: u32, value: u64, maxEntries: 1 });
}

/**
 * A program of any type that counts its runs in entry 0 of a map.
 *
 * @param map from {@link counter}
 * @param result what it returns
 */
export function counting(map: BpfMap<number, bigint>, result = 0): Instruction[] {
  return program(
    store("u32", r10, -4, 0),
    ldMap(r1, map),
    mov(r2, r10),
    add(r2, -4),
    call("map_lookup_elem"),
    jeq(r0, 0, "out"),
    mov(r1, 1),
    atomic("add", "u64", r0, 0, r1),
    label("out"),
    mov(r0, result),
    exit(),
  );
}
