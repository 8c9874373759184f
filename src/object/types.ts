import type { BpfBloomFilter, BpfMap, BpfQueue } from "../maps/index.ts";
import type { Program } from "../programs/index.ts";
import type { RecordMap } from "./record-map.ts";
import type { Variable } from "./variable.ts";

/**
 * What is in an object, as types: parameter of `loadObject`, `loadObjectAsync` and `BpfObject`. Interfaces will do, and
 * need no index signature.
 *
 * @example
 * ```ts no-run
 * import { readFileSync } from "node:fs";
 * import type { BpfMap, Program, RecordMap } from "rawbpf";
 * import { loadObject } from "rawbpf";
 *
 * interface Execsnoop {
 *   maps: {
 *     counts: BpfMap<number, bigint>;
 *     events: RecordMap<{ pid: number; comm: string }>;
 *   };
 *   programs: { handle_exec: Program };
 *   variables: { target_uid: number; enabled: boolean };
 * }
 * using object = loadObject<Execsnoop>(readFileSync("execsnoop.bpf.o"), { variables: { target_uid: 1000 } });
 * object.variables.enabled.set(true);
 * const count: bigint | undefined = object.maps.counts.get(1);
 * for await (const { pid, comm } of object.maps.events.records()) console.log(pid, comm, count);
 * ```
 */
export interface ObjectTypes {
  /** Handles of maps, by name: {@link BpfMap}, `BpfQueue`, `BpfBloomFilter`, {@link RecordMap}. */
  readonly maps: object;
  /** Handles of programs, by name: {@link Program}. */
  readonly programs: object;
  /** Values of variables, by name: `number`, `bigint`, `boolean`, `string`, objects, arrays. */
  readonly variables: object;
}

/** Any map: what its keys and values are depends on the object. */
// biome-ignore lint/suspicious/noExplicitAny: types of an object file are known when it is read, not before
export type ObjectMap = BpfMap<any, any>;

/** A map of which nothing is known when code is compiled: it may be of any type, and has what its type has. */
export type AnyObjectMap = ObjectMap &
  // biome-ignore lint/suspicious/noExplicitAny: as above
  Pick<BpfQueue<any, any>, "push" | "pop" | "peek"> &
  // biome-ignore lint/suspicious/noExplicitAny: as above
  Pick<BpfBloomFilter<any, any>, "add" | "mayContain"> &
  // biome-ignore lint/suspicious/noExplicitAny: as above
  Pick<RecordMap<any>, "records" | "listen" | "reader" | "recordType">;

/** An object of which nothing is known when code is compiled. */
export interface AnyObjectTypes extends ObjectTypes {
  readonly maps: Readonly<Record<string, AnyObjectMap>>;
  readonly programs: Readonly<Record<string, Program>>;
  // biome-ignore lint/suspicious/noExplicitAny: types of an object file are known when it is read, not before
  readonly variables: Readonly<Record<string, any>>;
}

/** Names of maps, programs or variables. */
export type NamesOf<T extends ObjectTypes, K extends keyof ObjectTypes> = keyof T[K] & string;

/** Handles of variables, by name. */
export type VariablesOf<T extends ObjectTypes> = {
  readonly [N in keyof T["variables"]]: Variable<T["variables"][N]>;
};
