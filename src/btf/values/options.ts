// Browser-safe.

/** How values look in TypeScript: shared by codecs and the declarations that go with them. */
export interface ValueOptions {
  /**
   * What 64-bit integers are: always `bigint` (default), or `"safe"`: a `number` up to 2^53 - 1 in magnitude and a
   * `bigint` beyond, which is several times faster to decode. Pointers and 128-bit integers are always `bigint`.
   */
  readonly bigint?: "always" | "safe" | undefined;
  /** What arrays of `char` are: the text up to the first NUL (default), or all bytes as `Uint8Array`. */
  readonly chars?: "string" | "bytes" | undefined;
  /**
   * Enums that are sets of bits: their values are arrays of names, with the bits that have none as one number at the
   * end. A list of names of enums or of typedefs of them, or `true` for each enum that has two or more single-bit
   * values and whose other values are made of those. Default none.
   */
  readonly flags?: boolean | readonly string[] | undefined;
}

/** Options of `codec`. */
export interface CodecOptions extends ValueOptions {
  /**
   * Encode values with members or trailing array elements left out, as zeros, and unions without any member.
   * Default `false`: what is missing is an error.
   */
  readonly partial?: boolean | undefined;
  /**
   * Bytes of a whole value, where it ends in a flexible array and is stored in a place of fixed size, such as the key
   * of an LPM trie: decoding takes elements up to there, not up to the end of the bytes given, and encoding always
   * fills it. Default: the size of the type.
   */
  readonly size?: number | undefined;
  /**
   * Whether decoders may be compiled with `new Function`, which makes them several times faster. Where a content
   * security policy forbids that, they are made of closures without being asked, with the same results. Default `true`.
   */
  readonly codegen?: boolean | undefined;
}
