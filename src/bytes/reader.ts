// Browser-safe.

import { type BpfError, type BpfErrorCode, ParseError } from "../errors.ts";
import { decodeUtf8 } from "./text.ts";

/** Builds the error a {@link Reader} throws, so that each format throws its own class. */
export type ParseErrorFactory = (code: BpfErrorCode, message: string, path: string, offset: number) => BpfError;

const defaultError: ParseErrorFactory = (code, message, path, offset) =>
  new ParseError(code, message, { path, offset });

/** Options of a {@link Reader}. */
export interface ReaderOptions {
  /** Byte order of multi-byte fields; fixed for the reader's life. Default `true`. */
  readonly littleEndian?: boolean;
  /** Prefix of the path in error messages, for example `.BTF`. */
  readonly path?: string;
  /** Absolute offset of the first byte, added to offsets in error messages. Default 0. */
  readonly base?: number;
  /** Error class to throw. Default {@link ParseError}. */
  readonly error?: ParseErrorFactory;
}

/**
 * A bounds-checked cursor over bytes: the one place where this library turns bytes into numbers.
 * Every read is checked before it happens; a failed check throws with path and absolute byte offset.
 */
export class Reader {
  /** The bytes read from: a view, never a copy. */
  readonly bytes: Uint8Array;
  /** Byte order of multi-byte fields. */
  readonly littleEndian: boolean;
  /** Cursor: offset of the next byte, relative to `bytes`. */
  position = 0;
  /** Path shown in errors; callers set it while they descend. */
  path: string;
  readonly #view: DataView;
  readonly #base: number;
  readonly #error: ParseErrorFactory;

  /**
   * @param bytes the input; kept by reference
   * @param options byte order, error path, error class
   */
  constructor(bytes: Uint8Array, options: ReaderOptions = {}) {
    this.bytes = bytes;
    this.littleEndian = options.littleEndian ?? true;
    this.path = options.path ?? "";
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#base = options.base ?? 0;
    this.#error = options.error ?? defaultError;
  }

  /** Length of the input in bytes. */
  get length(): number {
    return this.bytes.length;
  }

  /** Bytes left behind the cursor. */
  get remaining(): number {
    return this.bytes.length - this.position;
  }

  /**
   * Makes the error of this reader's format.
   *
   * @param message what is wrong, without a place
   * @param offset where, relative to `bytes`; default the cursor
   * @param code default `ERR_MALFORMED`
   */
  fail(message: string, offset: number = this.position, code: BpfErrorCode = "ERR_MALFORMED"): BpfError {
    return this.#error(code, message, this.path, this.#base + offset);
  }

  /**
   * Moves the cursor.
   *
   * @throws an error of the reader's class when `offset` lies outside the input
   */
  seek(offset: number): this {
    if (!(Number.isInteger(offset) && offset >= 0 && offset <= this.bytes.length)) {
      throw this.fail(`Offset ${offset} is outside of ${this.bytes.length} bytes`, 0, "ERR_OUT_OF_RANGE");
    }
    this.position = offset;
    return this;
  }

  /** Steps over `count` bytes. */
  skip(count: number): this {
    this.#advance(count);
    return this;
  }

  /** Reads one unsigned byte. */
  u8(): number {
    const at = this.#advance(1);
    return this.bytes[at]!;
  }

  /** Reads an unsigned 16-bit integer. */
  u16(): number {
    return this.#view.getUint16(this.#advance(2), this.littleEndian);
  }

  /** Reads a signed 16-bit integer. */
  i16(): number {
    return this.#view.getInt16(this.#advance(2), this.littleEndian);
  }

  /** Reads an unsigned 32-bit integer. */
  u32(): number {
    return this.#view.getUint32(this.#advance(4), this.littleEndian);
  }

  /** Reads a signed 32-bit integer. */
  i32(): number {
    return this.#view.getInt32(this.#advance(4), this.littleEndian);
  }

  /** Reads an unsigned 64-bit integer as bigint. */
  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8), this.littleEndian);
  }

  /** Reads a signed 64-bit integer as bigint. */
  i64(): bigint {
    return this.#view.getBigInt64(this.#advance(8), this.littleEndian);
  }

  /**
   * Reads an unsigned 64-bit integer that must be a safe `number`: offsets and sizes of files.
   *
   * @throws an error of the reader's class when the value is above 2^53 - 1
   */
  size64(): number {
    const at = this.position;
    const value = this.u64();
    if (value > 0x1fffffffffffffn) throw this.fail(`Value ${value} is too large`, at, "ERR_OUT_OF_RANGE");
    return Number(value);
  }

  /**
   * Takes `count` bytes as a view on the input (not a copy).
   *
   * @throws an error of the reader's class when fewer are left
   */
  take(count: number): Uint8Array {
    const at = this.#advance(count);
    return this.bytes.subarray(at, at + count);
  }

  /**
   * A reader over a part of the input, with the same byte order, error class and absolute offsets.
   *
   * @param offset first byte, relative to `bytes`
   * @param length bytes
   * @param path path for its errors; default this reader's path
   * @throws an error of the reader's class when the part does not lie inside the input
   */
  sub(offset: number, length: number, path: string = this.path): Reader {
    this.check(offset, length);
    return new Reader(this.bytes.subarray(offset, offset + length), {
      littleEndian: this.littleEndian,
      path,
      base: this.#base + offset,
      error: this.#error,
    });
  }

  /**
   * Checks that `[offset, offset + length)` lies inside the input, without wrapping.
   *
   * @throws an error of the reader's class
   */
  check(offset: number, length: number): void {
    const total = this.bytes.length;
    if (!(offset >= 0 && length >= 0 && offset <= total && length <= total - offset)) {
      throw this.fail(
        `Need ${length} bytes at offset ${this.#base + offset}, input ends at ${this.#base + total}`,
        Math.min(Math.max(0, offset), total),
        "ERR_TRUNCATED",
      );
    }
  }

  /**
   * Reads a NUL-terminated string that starts at `offset`, without moving the cursor.
   *
   * @throws an error of the reader's class when `offset` is outside or no NUL follows
   */
  cstringAt(offset: number): string {
    if (!(offset >= 0 && offset < this.bytes.length)) {
      throw this.fail(`String offset ${offset} is outside of ${this.bytes.length} bytes`, 0, "ERR_OUT_OF_RANGE");
    }
    const end = this.bytes.indexOf(0, offset);
    if (end < 0) throw this.fail("String has no terminating NUL", offset);
    return decodeUtf8(this.bytes.subarray(offset, end));
  }

  #advance(count: number): number {
    const at = this.position;
    if (!(count >= 0 && count <= this.bytes.length - at)) this.check(at, count);
    this.position = at + count;
    return at;
  }
}
