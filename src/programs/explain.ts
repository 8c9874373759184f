/** A message of the verifier, and what it means. */
export interface VerifierMessage {
  /** Short name of the fault, stable. */
  readonly name: string;
  /** What the kernel writes: a part of one line. Kernels differ in their wording; all known forms are here. */
  readonly pattern: RegExp;
  /** What it means, one or two sentences. */
  readonly meaning: string;
  /** What to do about it. */
  readonly fix: string;
}

/** An explanation of a verifier log. */
export interface ExplainedMessage {
  /** The message that was found. */
  readonly message: VerifierMessage;
  /** The line of the log. */
  readonly line: string;
  /** Meaning and fix in one paragraph. */
  readonly text: string;
}

/**
 * Messages that are explained, the more particular ones first: the first that fits a line is taken.
 */
export const VERIFIER_MESSAGES: readonly VerifierMessage[] = [
  {
    name: "core_relocation",
    pattern:
      /failed to resolve CO-RE relocation|invalid CO-RE relocation|invalid func unknown#195896080|poisoned by CO-RE/,
    meaning:
      "A field, type or enumerator that the program asks for is not in this kernel, and the code that needs it can be reached",
    fix: "Guard it with bpf_core_field_exists() and its like, or follow the renamed field with a ___flavour of the type",
  },
  {
    name: "missing_map",
    pattern: /is referenced but wasn.t created|invalid BPF map reference|invalid func unknown#2001\d{6}/,
    meaning: "The program uses a map that was not created",
    fix: "Let the map be created, or keep the code that uses it from being reached: a constant in .rodata decides that at load time",
  },
  {
    name: "missing_kfunc",
    pattern:
      /is referenced but wasn.t resolved|invalid kfunc call|invalid func unknown#2002\d{6}|calling kernel function \S+ is not allowed/,
    meaning:
      "The program calls a kernel function that this kernel does not have, or does not let programs of this type call",
    fix: "Guard weak functions with bpf_ksym_exists(), or look for the kernel and program type that have the function",
  },
  {
    name: "null_check",
    pattern: /(invalid mem access|pointer arithmetic on) '?\w+_or_null|_or_null prohibited, null-check it first/,
    meaning: "What the pointer came from may have found nothing, and the program uses it without looking",
    fix: "Compare it with NULL right after the call: if (!value) return 0;",
  },
  {
    name: "packet_bounds",
    pattern: /invalid access to packet|R\d+ offset is outside of the packet/,
    meaning: "The program reads or writes more of the packet than it has shown to be there",
    fix: "Compare the same pointer with data_end before: if (ptr + sizeof(*ptr) > data_end) return ...; and again after each variable step and after helpers that change the packet",
  },
  {
    name: "map_value_bounds",
    pattern:
      /invalid access to map value|R\d+ unbounded memory access|R\d+ (min|max) value is outside of the (allowed memory|array) range|invalid access to memory, mem_size/,
    meaning:
      "An offset into the memory behind the pointer may lead past its end: the verifier knows no bound that is small enough",
    fix: "Check the index against the size right before, in the same unsigned variable, or cut it with a mask: i &= N - 1",
  },
  {
    name: "negative_size",
    pattern:
      /min value is negative, either use unsigned|R\d+ (invalid negative|invalid zero-sized|min value is negative)/,
    meaning: "A size or offset could be negative, or zero where that is not allowed",
    fix: "Make it unsigned and bound it on both sides, or cut it with a mask: len &= 0xff",
  },
  {
    name: "not_a_pointer",
    pattern: /R\d+ invalid mem access '(scalar|inv)'/,
    meaning:
      "The register holds a number where a pointer is needed: one from memory the verifier does not follow, one that arithmetic has spoilt, or a packet pointer that a helper has made invalid",
    fix: "Read kernel memory with bpf_probe_read_kernel() or BPF_CORE_READ(), read the packet pointers from the context again after helpers that change the packet",
  },
  {
    name: "too_complex",
    pattern:
      /BPF program is too large|too many states|infinite loop detected|back-edge from insn|The sequence of \d+ jumps is too complex|loop is not bounded/,
    meaning:
      "The verifier walks every turn of a loop and every way through the branches: it found no end, or gave up after a million steps",
    fix: "Give loops a constant bound, or use bpf_loop() or bpf_for(); put parts into global functions, which are checked once; branch less inside of loops",
  },
  {
    name: "stack_limit",
    pattern:
      /combined stack size of \d+ calls is|stack depth \d+ exceeds|the call stack of \d+ frames is too deep|invalid (write to|read from|access to|unbounded variable-offset \w+ to) stack.* off=-(5[2-9]\d|51[3-9]|[6-9]\d\d|\d{4,})/,
    meaning:
      "The local variables of the functions that call one another take more than the 512 bytes of stack, or the calls nest too deeply",
    fix: "Keep large buffers in an array map of one entry per CPU, make them smaller, or inline less",
  },
  {
    name: "uninitialized",
    pattern: /invalid (indirect )?read from stack|R\d+ !read_ok|invalid indirect access to stack/,
    meaning:
      "The program reads, returns or passes on a register or stack memory that it has not written: padding of a struct, a forgotten return value, or r1 to r5 after a call",
    fix: "Set structs to zero first with __builtin_memset(), return a value on every path, keep the context in another variable across calls",
  },
  {
    name: "gpl_only",
    pattern: /cannot call GPL-restricted function from non-GPL compatible program|GPL-only/i,
    meaning: "The helper may only be called by programs under a licence that is compatible with the GPL",
    fix: 'Give the object such a licence: char LICENSE[] SEC("license") = "GPL"; if it is under one',
  },
  {
    name: "helper_not_available",
    pattern:
      /program of this type cannot use helper|unknown func \S+|invalid func (unknown)?#?\d+|helper call is not allowed|cannot (use|call) helper/,
    meaning: "The helper is not there for programs of this type, or not in this kernel",
    fix: "Use another program type, a helper that this one has, or a newer kernel; a probe in .rodata can choose between the ways",
  },
  {
    name: "context_access",
    pattern:
      /invalid bpf_context access|dereference of modified ctx ptr|variable ctx access|dereference of modified context/,
    meaning:
      "The context of this program type has no such field, or it may not be read or written with that width; or an offset was added to the context pointer first",
    fix: "Look the context of the program type up, read the field into a local variable with a constant offset, and do not pass addresses inside of the context around",
  },
  {
    name: "reference_leak",
    pattern: /Unreleased reference|reference has not been acquired before|release kfunc .* expects/,
    meaning:
      "Something that was acquired (a socket, a ring buffer record, a task) is not given back on every path, or is given back twice",
    fix: "Release, submit or discard it on each path out of the program, also where something else fails",
  },
  {
    name: "return_value",
    pattern:
      /At (program exit|async callback return|subprogram exit|callback return) the register R0|R0 has (value|smin|unknown scalar value)/,
    meaning: "The program may return a value that its type does not allow",
    fix: "Return one of the values named in the log, on every path",
  },
  {
    name: "unreachable",
    pattern: /unreachable insn \d+/,
    meaning: "No path leads to that instruction, and kernels refuse code that cannot be reached",
    fix: "Remove it; in assembler text, look for a jump that is missing or an exit too early",
  },
  {
    name: "no_exit",
    pattern: /last insn is not an exit or jmp|no exit|fell through to/,
    meaning: "The program, or a function in it, can run past its last instruction",
    fix: "End each function with exit or a jump; in C, return a value on every path and avoid __builtin_unreachable()",
  },
  {
    name: "jump_range",
    pattern: /jump out of range from insn|jump into the middle of ldimm64/,
    meaning: "A jump leads out of the function, or into the middle of an instruction of two slots",
    fix: "Jump to labels instead of counted distances",
  },
  {
    name: "argument_type",
    pattern: /R\d+ type=\S+ expected=|arg#?\d+ .*(expected|must be)|R\d+ must (be|have)/,
    meaning:
      "A helper or function wants another kind of value in this argument: a pointer to the stack, to a map, to the context, or a known constant",
    fix: "Pass what it expects: copy data onto the stack first, or pass the map itself and not its value",
  },
  {
    name: "pointer_arithmetic",
    pattern:
      /pointer arithmetic with \S+ operator prohibited|pointer [+-]= pointer prohibited|bitwise operator \S+ on pointer|32-bit pointer arithmetic prohibited|pointer arithmetic on \S+ prohibited/,
    meaning: "The program calculates with a pointer in a way whose result the verifier cannot follow",
    fix: "Only add and subtract bounded numbers; calculate offsets in a number of their own, and do not add two pointers",
  },
  {
    name: "alignment",
    pattern: /misaligned (stack|value|packet|ctx|context)?\s?access/,
    meaning: "The access is not aligned to its size where it has to be, as on the stack",
    fix: "Align the variable, or copy the bytes with __builtin_memcpy()",
  },
  {
    name: "frame_pointer",
    pattern: /frame pointer is read only/,
    meaning: "r10, the frame pointer, cannot be written",
    fix: "Copy it to another register and calculate there",
  },
  {
    name: "division_by_zero",
    pattern: /div by zero/,
    meaning: "The program divides by the constant 0",
    fix: "Divide by something else; a divisor in a register may be 0, the result is 0 then",
  },
  {
    name: "shift",
    pattern: /invalid shift -?\d+/,
    meaning: "A shift by a constant that is negative, or not smaller than the width of the register",
    fix: "Shift by 0 to 63, or 0 to 31 for 32-bit operations",
  },
  {
    name: "unknown_opcode",
    pattern: /unknown opcode|uses reserved fields|invalid BPF_LD_IMM/,
    meaning: "The kernel does not know an instruction, or one of its fields is set that should be 0",
    fix: "The kernel may be older than the instruction set the program was compiled for: try -mcpu=v3 or lower",
  },
  {
    name: "pointer_leak",
    pattern: /R\d+ leaks addr|leaking pointer|pointer comparison prohibited/,
    meaning: "A kernel address could get where everybody can read it, and the program is loaded without CAP_PERFMON",
    fix: "Store or return something else than pointers, or load with more capabilities",
  },
  {
    name: "lock",
    pattern:
      /(bpf_spin_lock|spin_lock|bpf_res_spin_lock).*(is missing|inside|held|lock)|function calls are not allowed while holding a lock/,
    meaning: "A lock is held where it must not be: at the end of a path, over a call, or while another one is taken",
    fix: "Release the lock on each path, and do nothing but reads, writes and arithmetic while it is held",
  },
  {
    name: "no_btf_target",
    pattern:
      /attach_btf_id \d+ is (not a function|invalid)|FENTRY\/FEXIT program can only be attached|Attach to unsupported member/,
    meaning: "What the program is to be attached to is no function that the kernel lets programs attach to",
    fix: "Choose a function that is listed in available_filter_functions and not inlined",
  },
];

const STATISTICS = /^(processed \d+ insns|verification time |stack depth |insns processed |max_states_per_insn )/;

/**
 * Finds the message in a verifier log that says what is wrong, and explains it. The last lines count: what stands before
 * is the way there.
 *
 * @param log the kernel's log, or its last lines
 * @param summary looked at before the log, as `summarizeLog` gives it
 * @returns `undefined` when none of the known messages is there
 *
 * @example
 * ```ts
 * import { explainVerifierLog } from "rawbpf/programs";
 *
 * explainVerifierLog("R0 invalid mem access 'map_value_or_null'")?.message.name; // "null_check"
 * ```
 */
export function explainVerifierLog(log: string, summary?: string): ExplainedMessage | undefined {
  // Lines of instructions and registers hold the words of the program, not those of the verifier.
  const lines = log.split("\n").filter((line) => line.trim() !== "" && !STATISTICS.test(line));
  const said = lines.filter((line) => !/^\s*(\d+: |;|from \d+ to \d+|func#\d+)/.test(line));
  const candidates = [...(summary === undefined ? [] : [summary]), ...said.slice(-6).reverse()];
  for (const line of candidates) {
    for (const message of VERIFIER_MESSAGES) {
      if (message.pattern.test(line)) {
        return { message, line: line.trim(), text: `${message.meaning}. ${message.fix}` };
      }
    }
  }
  return undefined;
}
