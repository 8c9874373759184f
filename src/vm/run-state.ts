// Browser-safe.

import { findHelper, type ProgType } from "../kernel-abi/index.ts";
import type { Cpu } from "./cpu.ts";
import { MachineFault } from "./errors.ts";
import type { ProgramMap } from "./maps/program-map.ts";
import { MAP_POINTER_STRIDE, MAP_POINTERS, type Memory, type Region } from "./memory.ts";
import type { Packet } from "./packet.ts";
import type { Code } from "./prepare.ts";
import type { World } from "./world.ts";

/** Where a program wants a packet to go: what `redirect` and its kin were called with. */
export interface Redirect {
  /** The helper: `redirect`, `redirect_map`, `clone_redirect`, `redirect_peer`, `redirect_neigh`. */
  readonly helper: string;
  /** Index of the interface; with `redirect_map` the key. */
  readonly target: number;
  /** Name of the map, with `redirect_map`. */
  readonly map: string | undefined;
  /** Flags as they were given. */
  readonly flags: bigint;
}

/** What one run works on, beside the machine itself. */
export class Run {
  readonly world: World;
  readonly memory: Memory;
  /** The packet, where there is one. */
  packet: Packet | undefined;
  /** Address of the context; 0 for none. */
  contextAddress = 0;
  /** The context's bytes in memory. */
  contextRegion: Region | undefined;
  /** Told after the packet has moved, to write addresses into the context. */
  packetMoved: () => void = () => {};
  /** Number of the processor that it runs on. */
  cpu = 0;
  /** Type of the program. */
  type: ProgType = "unspec";
  /** Hash of the packet, as `get_hash_recalc` gives it. */
  hash = 0;
  /** What `get_socket_cookie` gives. */
  socketCookie = 0n;
  /** What `get_attach_cookie` gives. */
  cookie = 0n;
  /** What `redirect` and its kin were called with. */
  redirects: Redirect[] = [];
  /** What `set_retval` has set. */
  returnValue = 0;

  constructor(world: World) {
    this.world = world;
    this.memory = world.memory;
  }

  /** The map at the address that an `ld_imm64` of it gave. */
  mapAt(address: number): ProgramMap | undefined {
    const distance = address - MAP_POINTERS;
    if (distance < 0 || distance % MAP_POINTER_STRIDE !== 0) return undefined;
    return this.world.maps[distance / MAP_POINTER_STRIDE];
  }

  /** Address of room for a key that does not lie in memory. */
  keyRoom(): number {
    return this.world.room;
  }

  /** Keeps everything that a program can change, and gives a function that brings it back. */
  save(): () => void {
    const { hash, returnValue } = this;
    const redirects = this.redirects.slice();
    const packet = this.packet?.save();
    return () => {
      this.hash = hash;
      this.returnValue = returnValue;
      this.redirects = redirects.slice();
      packet?.();
    };
  }

  /** Name of the program that code belongs to. */
  nameOf(code: Code): string {
    return this.world.names.get(code) ?? "";
  }

  /**
   * Address of bytes of the packet as `ld_abs` counts: from its data, or with the large negative offsets of the classic
   * filter from its network or link layer header.
   *
   * @returns `undefined` where there are none
   */
  packetAddress(offset: number, size: number): number | undefined {
    return this.packet?.relative(offset, size);
  }

  /** The fault of calling a helper that the machine does not have. */
  unknownHelper(cpu: Cpu, number: number): MachineFault {
    const known = findHelper(number);
    const what =
      known === undefined ? `there is no helper with number ${number}` : `the machine has no helper ${known.name}`;
    const hint =
      known === undefined ? undefined : `createMachine({ helpers: { ${known.name}: (call) => ... } }) gives it one`;
    return cpu.place(new MachineFault("ERR_VM_HELPER", what, { hint }));
  }
}
