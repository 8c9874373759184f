// Browser-safe.

// Character codes the scanner compares with. Comparing codes and not one-character strings keeps the hot loops free of
// allocation.
export const TAB = 0x09;
export const LINE_FEED = 0x0a;
export const CARRIAGE_RETURN = 0x0d;
export const SPACE = 0x20;
export const EXCLAMATION = 0x21;
export const QUOTE = 0x22;
export const HASH = 0x23;
export const PERCENT = 0x25;
export const AMPERSAND = 0x26;
export const APOSTROPHE = 0x27;
export const OPEN = 0x28;
export const CLOSE = 0x29;
export const STAR = 0x2a;
export const PLUS = 0x2b;
export const COMMA = 0x2c;
export const MINUS = 0x2d;
export const DOT = 0x2e;
export const SLASH = 0x2f;
export const ZERO = 0x30;
export const SEVEN = 0x37;
export const NINE = 0x39;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const LESS = 0x3c;
export const EQUALS = 0x3d;
export const GREATER = 0x3e;
export const AT = 0x40;
export const UPPER_R = 0x52;
export const OPEN_BRACKET = 0x5b;
export const BACKSLASH = 0x5c;
export const CLOSE_BRACKET = 0x5d;
export const CARET = 0x5e;
export const LOWER_B = 0x62;
export const LOWER_C = 0x63;
export const LOWER_F = 0x66;
export const LOWER_I = 0x69;
export const LOWER_L = 0x6c;
export const LOWER_P = 0x70;
export const LOWER_R = 0x72;
export const LOWER_S = 0x73;
export const LOWER_U = 0x75;
export const LOWER_W = 0x77;
export const LOWER_X = 0x78;
export const BAR = 0x7c;
export const TILDE = 0x7e;

/** May begin a name. */
const START = 1;
/** May stand inside a name. */
const PART = 2;
/** Space that does not end a line. */
const BLANK = 4;
/** May follow a constant and go on with it. */
const OPERATOR = 8;

const KINDS: Uint8Array = /* @__PURE__ */ (() => {
  const kinds = new Uint8Array(128);
  const mark = (characters: string, bits: number): void => {
    for (let i = 0; i < characters.length; i++) kinds[characters.charCodeAt(i)]! |= bits;
  };
  mark("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.$", START | PART);
  mark("0123456789", PART);
  mark(" \t\v\f\r", BLANK);
  mark("+-*/%<>&|^", OPERATOR);
  return kinds;
})();

/** Whether a name may begin with this character. Beyond ASCII everything may that is no space. */
export function startsWord(c: number): boolean {
  return c < 128 ? (KINDS[c]! & START) !== 0 : isLetterBeyondAscii(c);
}

/** Whether this character may stand inside a name. */
export function isWordPart(c: number): boolean {
  return c < 128 ? (KINDS[c]! & PART) !== 0 : isLetterBeyondAscii(c);
}

/** Whether this character is space that does not end a line. */
export function isBlank(c: number): boolean {
  return c < 128 && (KINDS[c]! & BLANK) !== 0;
}

/** Whether a constant expression may go on with this character. */
export function isOperator(c: number): boolean {
  return c < 128 && (KINDS[c]! & OPERATOR) !== 0;
}

/** Whether this character is a decimal digit. */
export function isDigit(c: number): boolean {
  return c >= ZERO && c <= NINE;
}

/** Value of a hexadecimal digit, or -1. */
export function hexDigit(c: number): number {
  if (c >= ZERO && c <= NINE) return c - ZERO;
  const lower = c | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function isLetterBeyondAscii(c: number): boolean {
  // No-break space, the spaces and separators of U+2000 to U+206F, the ideographic space and the byte-order mark look
  // like nothing and would make names that cannot be told apart.
  return c > 0xa0 && !(c >= 0x2000 && c <= 0x206f) && c !== 0x3000 && c !== 0xfeff;
}
