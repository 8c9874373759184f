// Browser-safe.

/** Options of a {@link Writer}. */
export interface WriterOptions {
  /** Byte order of multi-byte fields. Default `true`. */
  readonly littleEndian?: boolean;
  /** Bytes to allocate at first; it grows by doubling. Default 256. */
  readonly capacity?: number;
}

/** A growing byte buffer with range-checked writes: nothing wraps silently. */
export class Writer {
  /** Byte order of multi-byte fields. */
  readonly littleEndian: boolean;
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  /** @param options byte order and first capacity */
  constructor(options: WriterOptions = {}) {
    this.littleEndian = options.littleEndian ?? true;
    this.#bytes = new Uint8Array(Math.max(16, options.capacity ?? 256));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Writes an unsigned byte. @throws RangeError when it does not fit */
  u8(value: number): this {
    const checked = inRange(value, 0, 0xff, "u8");
    const at = this.#grow(1);
    this.#bytes[at] = checked;
    return this;
  }

  /** Writes an unsigned 16-bit integer. @throws RangeError when it does not fit */
  u16(value: number): this {
    const checked = inRange(value, 0, 0xffff, "u16");
    const at = this.#grow(2);
    this.#view.setUint16(at, checked, this.littleEndian);
    return this;
  }

  /** Writes a signed 16-bit integer. @throws RangeError when it does not fit */
  i16(value: number): this {
    const checked = inRange(value, -0x8000, 0x7fff, "i16");
    const at = this.#grow(2);
    this.#view.setInt16(at, checked, this.littleEndian);
    return this;
  }

  /** Writes an unsigned 32-bit integer. @throws RangeError when it does not fit */
  u32(value: number): this {
    const checked = inRange(value, 0, 0xffffffff, "u32");
    const at = this.#grow(4);
    this.#view.setUint32(at, checked, this.littleEndian);
    return this;
  }

  /** Writes a signed 32-bit integer. @throws RangeError when it does not fit */
  i32(value: number): this {
    const checked = inRange(value, -0x80000000, 0x7fffffff, "i32");
    const at = this.#grow(4);
    this.#view.setInt32(at, checked, this.littleEndian);
    return this;
  }

  /** Writes an unsigned 64-bit integer. @throws RangeError when it does not fit */
  u64(value: bigint | number): this {
    const wide = BigInt(value);
    if (wide < 0n || wide > 0xffffffffffffffffn) throw new RangeError(`Value ${value} does not fit u64`);
    const at = this.#grow(8);
    this.#view.setBigUint64(at, wide, this.littleEndian);
    return this;
  }

  /** Appends bytes. */
  bytes(data: Uint8Array): this {
    const at = this.#grow(data.length);
    this.#bytes.set(data, at);
    return this;
  }

  /** Appends zeros until the length is a multiple of `alignment`. */
  align(alignment: number): this {
    const rest = this.#length % alignment;
    if (rest !== 0) this.#grow(alignment - rest);
    return this;
  }

  /** Overwrites an unsigned 32-bit integer at `offset`. @throws RangeError outside of what was written */
  patchU32(offset: number, value: number): this {
    if (offset < 0 || offset + 4 > this.#length) throw new RangeError(`Offset ${offset} was not written yet`);
    this.#view.setUint32(offset, inRange(value, 0, 0xffffffff, "u32"), this.littleEndian);
    return this;
  }

  /** Returns what was written, as a copy. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  // Call this before #bytes or #view is read: it may replace both.
  #grow(count: number): number {
    const at = this.#length;
    const need = at + count;
    if (need > this.#bytes.length) {
      const bigger = new Uint8Array(Math.max(need, this.#bytes.length * 2));
      bigger.set(this.#bytes);
      this.#bytes = bigger;
      this.#view = new DataView(bigger.buffer);
    }
    this.#length = need;
    return at;
  }
}

function inRange(value: number, low: number, high: number, type: string): number {
  if (!(Number.isInteger(value) && value >= low && value <= high)) {
    throw new RangeError(`Value ${value} does not fit ${type}`);
  }
  return value;
}
