// Browser-safe.

import { Permission, READ_WRITE, type Region } from "../memory.ts";
import { EINVAL, EOPNOTSUPP } from "./errno.ts";
import { type MapMaking, ProgramMap } from "./program-map.ts";

/** Bytes in front of each record. */
const HEADER = 8;

/** A record of a ring buffer, in the order in which they were reserved. */
interface RingRecord {
  /** Address of its bytes. */
  readonly at: number;
  readonly size: number;
  /** Position of its header in the ring, ever growing. */
  readonly position: number;
  state: "busy" | "submitted" | "discarded";
}

/** A ring buffer: programs reserve records in it, fill them and submit them; a test takes them out. */
export class RingMap extends ProgramMap {
  readonly #data: Region;
  #records: RingRecord[] = [];
  #produced = 0;
  #consumed = 0;

  constructor(making: MapMaking) {
    super(making, false);
    // Records may be of any size, but none is split: the ring lies twice behind itself, as the kernel maps it.
    this.#data = this.memory.allocate({
      kind: "record",
      name: `a record of ${this.label}`,
      size: 2 * this.maxEntries,
      permission: 0,
    });
  }

  /** Bytes that wait to be taken out, headers included. */
  get available(): number {
    return this.#produced - this.#consumed;
  }

  /** Position of what is written next. */
  get produced(): number {
    return this.#produced;
  }

  /** Position of what is taken out next. */
  get consumed(): number {
    return this.#consumed;
  }

  /**
   * Makes room for a record.
   *
   * @returns its address; 0 when the ring is full, or never has so much room
   */
  reserve(size: number): number {
    const room = Math.ceil((size + HEADER) / 8) * 8;
    if (room > this.maxEntries || this.#produced + room - this.#consumed > this.maxEntries) return 0;
    const at = this.#data.start + (this.#produced % this.maxEntries) + HEADER;
    this.memory.bytes.fill(0, at, at + size);
    // What the program does not write is whatever was there: the verifier lets it through as written.
    this.memory.protect(at, size, READ_WRITE);
    this.#records.push({ at, size, position: this.#produced, state: "busy" });
    this.#produced += room;
    return at;
  }

  /**
   * Ends the writing of a record.
   *
   * @returns `false` when no record begins there that is being written
   */
  commit(at: number, discard: boolean): boolean {
    const record = this.#records.find((one) => one.at === at && one.state === "busy");
    if (record === undefined) return false;
    record.state = discard ? "discarded" : "submitted";
    this.memory.protect(at, record.size, Permission.freed);
    return true;
  }

  /** Takes the oldest record out. A record that is still being written holds up those behind it. */
  shift(): Uint8Array | undefined {
    for (;;) {
      const record = this.#records[0];
      if (record === undefined || record.state === "busy") return undefined;
      this.#records.shift();
      this.#consumed = record.position + Math.ceil((record.size + HEADER) / 8) * 8;
      if (record.state === "submitted") return this.memory.bytes.slice(record.at, record.at + record.size);
    }
  }

  /** Whether programs still write to records: they have neither submitted nor discarded them. */
  get busy(): number {
    return this.#records.filter((record) => record.state === "busy").length;
  }

  override lookup(): number {
    return 0;
  }

  override find(): number {
    return 0;
  }

  override update(): number {
    return -EINVAL;
  }

  override store(): number {
    return -EOPNOTSUPP;
  }

  override remove(): number {
    return -EINVAL;
  }

  override keys(): readonly number[] {
    return [];
  }

  override save(): () => void {
    const records = this.#records.map((record) => ({ ...record }));
    const produced = this.#produced;
    const consumed = this.#consumed;
    return () => {
      this.#records = records.map((record) => ({ ...record }));
      this.#produced = produced;
      this.#consumed = consumed;
    };
  }
}
