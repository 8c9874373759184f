// Browser-safe.

import type { BtfType } from "../types.ts";

/**
 * Words that are no names in C11, with those that gcc and clang add. Words that only C23 reserves (`bool`, `true`,
 * `constexpr`...) are names here: kernels use some, and renamed members would not be found by CO-RE.
 */
const RESERVED: ReadonlySet<string> = /* @__PURE__ */ new Set(
  `auto break case char const continue default do double else enum extern float for goto if inline int long register
  restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
  _Alignas _Alignof _Atomic _Bool _Complex _Generic _Imaginary _Noreturn _Static_assert _Thread_local
  asm typeof __asm __asm__ __attribute __attribute__ __const __const__ __extension__ __inline __inline__ __int128
  __restrict __restrict__ __signed __signed__ __typeof __typeof__ __volatile __volatile__ __thread`.split(/\s+/),
);

/** Words that C23 reserves and kernels declare. */
export const C23_WORDS: ReadonlySet<string> = /* @__PURE__ */ new Set(
  "alignas alignof bool constexpr false nullptr static_assert thread_local true typeof typeof_unqual".split(" "),
);

/**
 * A name as C allows it: other languages write `Option<u32>` or `{impl#0}` into BTF.
 *
 * @param name any text
 * @returns the name itself when it is one; else with `_` for each character that may not be in a name
 */
export function identifier(name: string): string {
  if (/^[A-Za-z_]\w*$/.test(name)) return RESERVED.has(name) ? `${name}_` : name;
  const clean = name.replace(/\W/g, "_");
  return /^\d/.test(clean) || clean === "" ? `_${clean}` : clean;
}

const INTEGER_WORDS: ReadonlySet<string> = /* @__PURE__ */ new Set(
  "char short int long signed unsigned __int128 _Bool".split(" "),
);

/** Whether C knows a number under this name, so that it needs no declaration: `long unsigned int`, `_BitInt(24)`. */
export function isBuiltInNumber(name: string): boolean {
  if (/^(unsigned |signed )?_BitInt\(\d+\)$/.test(name)) return true;
  if (/^(float|double|long double|_Float\d+x?|__float128|__bf16|__fp16|_Complex (float|double))$/.test(name))
    return true;
  return name.split(" ").every((word) => INTEGER_WORDS.has(word));
}

/**
 * Whether a type is one that compilers have without being told, such as `__builtin_va_list`. What they take for it
 * depends on their target, which is not that of a kernel when BPF is compiled: so it is written as what it stands for
 * wherever the BTF says that.
 */
export function isBuiltInTypedef(type: BtfType): boolean {
  return type.kind === "typedef" && /^__builtin_(\w+_)?va_list$/.test(type.name);
}
