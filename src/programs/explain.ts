import { splitLog } from "./verifier-report.ts";

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
    name: "sleepable",
    pattern:
      /might sleep in a non-sleepable|(kernel func|sleepable (helper|kfunc|global function)) \S+.* (in|within|is sleepable)|must be sleepable to call|is sleepable but the program is not|programs? (can|must|cannot) (only )?be sleepable|[Ss]leepable programs can only use|Extension program may sleep|\S+ is not sleepable|bpf_lsm, bpf_iter and sleepable progs/,
    meaning:
      "Something that may sleep is called where the kernel must not sleep, or the program is loaded as one that may sleep and its type, map or target does not allow that",
    fix: "Use a section that ends in .s where there is one (fentry.s, lsm.s, iter.s, uprobe.s), or the helper that does not sleep, such as bpf_probe_read_user() for bpf_copy_from_user()",
  },
  {
    name: "lock",
    pattern:
      /(spin_lock|spin_unlock).*(is missing|inside|held|lock|region)|function calls are not allowed while holding a lock/,
    meaning: "A lock is held where it must not be: at the end of a path, over a call, or while another one is taken",
    fix: "Release the lock on each path, and do nothing but reads, writes and arithmetic while it is held",
  },
  {
    name: "region",
    pattern:
      /inside bpf_(rcu_read_lock|preempt_disable|local_irq_save)-ed region|unmatched (rcu read unlock|attempt to enable preemption)|with preemption disabled|restore irq state|(nested|unclosed).*(rcu|preempt|irq)|bpf_(rcu_read_(un)?lock|preempt_enable|local_irq_restore) is missing/,
    meaning:
      "A section that begins with bpf_rcu_read_lock(), bpf_preempt_disable() or bpf_local_irq_save() is not ended on every path, is ended without having begun, or something is called inside of it that is not allowed there",
    fix: "End it on each path before the program or function returns, and do what may sleep or call other functions outside of it",
  },
  {
    name: "iterator",
    pattern:
      /expected (an initialized|uninitialized) iter_|expected valid iter pointer|expected pointer to an iterator on stack|iter_\S+ .*not destroyed/,
    meaning: "An open-coded iterator is used before it is begun, begun twice, or not ended",
    fix: "Begin it once with bpf_iter_..._new(), and end it with bpf_iter_..._destroy() on each path; bpf_for() and bpf_for_each() do both",
  },
  {
    name: "dynptr",
    pattern:
      /[Ee]xpected an initialized dynptr|[Dd]ynptr has to be an uninitialized dynptr|Expected a dynptr of type|const struct bpf_dynptr|potential write to dynptr|cannot (overwrite|pass|release).* dynptr|dynptr is initialized with/,
    meaning: "A dynptr is used before a helper has set it up, is set up twice, or is written over",
    fix: "Set it up with bpf_dynptr_from_...() or bpf_ringbuf_reserve_dynptr(), leave its 16 bytes alone, and submit or discard it on each path",
  },
  {
    name: "trusted_pointer",
    pattern:
      /R\d+ must be (a rcu pointer|referenced|trusted)|must be referenced or trusted|Possibly NULL pointer passed to trusted|requires a trusted or resource-owning pointer|arg#?\d+ is expected to be non-NULL|expected=.*(trusted_ptr|ptr_)\S*, .*untrusted/,
    meaning:
      "A kernel function wants a pointer that is known to be valid: one from the context, or acquired; not one that was read out of another struct, and not one that may be NULL",
    fix: "Compare it with NULL first; acquire it (bpf_task_acquire() and its like), or read it between bpf_rcu_read_lock() and bpf_rcu_read_unlock() where its field is marked __rcu",
  },
  {
    name: "kernel_memory",
    pattern:
      /only read is supported|access beyond (struct|the end|object)|cannot access ptr member|type '[^']*' is not a struct/,
    meaning:
      "The program writes to a struct of the kernel through a pointer that may only be read, or reads behind its end or in the middle of a pointer in it",
    fix: "Write with the helpers and kernel functions that are meant for it; read fields as the kernel's BTF has them, with preserve_access_index",
  },
  {
    name: "map_type",
    pattern: /cannot pass map_type \d+ into func|map_type \d+ .*not supported|expected prog array map for tail call/,
    meaning: "The helper does not work on maps of this type",
    fix: "Use the helper for the type of map: lookups for hashes and arrays, bpf_ringbuf_output() for ring buffers, bpf_perf_event_output() for perf event arrays",
  },
  {
    name: "read_only",
    pattern:
      /write into map forbidden|read from map forbidden|cannot write into (packet|rdonly|\S+_mem)|R\d+ cannot write into|cannot write into packet/,
    meaning:
      "The memory may not be written by programs: constants, maps made for reading, packets of this program type",
    fix: "Take const away from the variable so that it does not lie in .rodata, or copy the data onto the stack before changing it",
  },
  {
    name: "pointer_offset",
    pattern:
      /math between \S+ pointer and .* is not allowed|makes \S+ pointer be out of bounds|pointer offset -?\d+ is not allowed/,
    meaning:
      "A number of which the verifier knows too little is added to or taken from a pointer, or one far too large",
    fix: "Bound the number right before, on both sides where it has a sign: if (i >= N) return 0; or i &= N - 1",
  },
  {
    name: "spilled_pointer",
    pattern:
      /attempt to corrupt spilled pointer|invalid size of register (spill|fill)|corrupted spill memory|partial copy of pointer/,
    meaning: "A pointer that was saved on the stack is read or overwritten in parts",
    fix: "Keep pointers in variables of their own, and copy structs that hold them whole, 8 bytes at a time",
  },
  {
    name: "same_instruction",
    pattern: /same insn cannot be used with different pointers/,
    meaning:
      "One instruction is reached with different kinds of pointers, for which the kernel would have to change it in different ways",
    fix: 'Access each kind on a path of its own; a barrier keeps the compiler from joining them: asm volatile("")',
  },
  {
    name: "recursion",
    pattern: /recursive subprogram call|call graph recursive|recursive call from/,
    meaning: "A function calls itself, directly or through others",
    fix: "Use a loop, bpf_loop() or a tail call",
  },
  {
    name: "global_function",
    pattern:
      /[Gg]lobal function \S+ (doesn't return scalar|return value not void|has \d+|with \d+)|Global functions need valid BTF|Caller passes invalid args into func#\d+|args, stack args not supported|[Aa]rg#\d+ reference type\(|Arg#\d+ type \S+ in \S+ is not supported/,
    meaning:
      "A global function is checked by its prototype alone: it returns a number, takes at most five arguments, and of pointers it knows only what its types say",
    fix: "Make the function static, so that it is checked at each call, or say what the pointer is: __arg_nonnull, __arg_ctx and the like of bpf_helpers.h",
  },
  {
    name: "type_information",
    pattern:
      /missing btf func_info|expected (func|line)_info|line_info\[\d+\]|Invalid insn code at line_info|missing bpf_line_info|in func_info|func_info BTF section doesn't match/,
    meaning: "The types and lines that came with the program do not fit its instructions",
    fix: "Load the program without them, or make them anew after its instructions were changed",
  },
  {
    name: "arena",
    pattern: /associated arena|is not a pointer to arena|Only one arena per program|with and without arena pointer/,
    meaning: "The program calculates with addresses of an arena, and refers to none, or to several",
    fix: "Let the program refer to its arena map, for example by bpf_arena_alloc_pages(&arena, ...)",
  },
  {
    name: "struct_ops",
    pattern:
      /[Aa]ttach to unsupported member|attach to unsupported struct|is not a member of struct|invalid member idx/,
    meaning: "The kernel does not let programs fill that member of the table, or none of this kind",
    fix: "Leave the member out, or look in the kernel's bpf_..._check_member for what it takes",
  },
  {
    name: "tail_call",
    pattern: /tail_calls? (is|are) not allowed|tail_call abusing map_ptr/,
    meaning:
      "This program, or this function in it, may not make tail calls: kernels without a JIT, and functions without types, do not support them beside calls",
    fix: "Inline the functions (__always_inline), compile with BTF (-g), or switch the JIT on: net.core.bpf_jit_enable",
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
      /min value is negative, either use unsigned|invalid zero-sized? (read|access)|R\d+ invalid (negative|zero-sized)/,
    meaning: "A size or offset could be negative, or zero where that is not allowed",
    fix: "Make it unsigned and bound it on both sides, or cut it with a mask: len &= 0xff",
  },
  {
    name: "constant_argument",
    pattern: /R\d+ is not a known constant|R\d+ must be a known constant|arg#?\d+ .*known constant/,
    meaning: "This argument has to be a constant that is known when the program is loaded",
    fix: "Pass a literal or sizeof(), or choose between calls with constants by a switch; bpf_ringbuf_output() and dynptrs take sizes that vary",
  },
  {
    name: "not_a_pointer",
    pattern: /R\d+ invalid mem access '(scalar|inv)'|R\d+ invalid mem access/,
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
      /invalid bpf_context access|dereference of modified ctx ptr|variable ctx access|dereference of modified context|stores into R\d+ ctx is not allowed/,
    meaning:
      "The context of this program type has no such field, or it may not be read or written with that width; or an offset was added to the context pointer first",
    fix: "Look the context of the program type up, read the field into a local variable with a constant offset, and do not pass addresses inside of the context around",
  },
  {
    name: "reference_leak",
    pattern:
      /Unreleased reference|would lead to reference leak|reference has not been acquired before|release (kfunc|helper|function) .* expects|must be referenced when passed to release/,
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
    pattern: /jump out of range from insn|jump into the middle of ldimm64|jump to reserved code/,
    meaning: "A jump leads out of the function, or into the middle of an instruction of two slots",
    fix: "Jump to labels instead of counted distances",
  },
  {
    name: "argument_type",
    pattern: /R\d+ type=\S+ expected=|arg#?\d+ .*(expected|must be)|R\d+ must (be|have)|R\d+ is of type \S+ but/,
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
    name: "no_btf_target",
    pattern:
      /attach_btf_id \d+ is (not a function|invalid)|FENTRY\/FEXIT program can only be attached|Attach to unsupported member/,
    meaning: "What the program is to be attached to is no function that the kernel lets programs attach to",
    fix: "Choose a function that is listed in available_filter_functions and not inlined",
  },
];

/** As much of a log as is looked at, in characters. */
const TAIL = 64 * 1024;

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
  const { lines: before, report } = splitLog(log.slice(-TAIL));
  const lines = before.split("\n").filter((line) => line.trim() !== "" && !STATISTICS.test(line));
  const said = lines.filter((line) => !/^\s*(\d+: |;|from \d+ to \d+|func#\d+)/.test(line));
  const candidates = [...(summary === undefined ? [] : [summary]), ...said.slice(-6).reverse()];
  if (report !== undefined) candidates.push(report.title, report.reason);
  for (const line of candidates) {
    for (const message of VERIFIER_MESSAGES) {
      if (message.pattern.test(line)) {
        const reason = report === undefined ? "" : `${report.reason} `;
        return { message, line: line.trim(), text: `${reason}${message.meaning}. ${message.fix}` };
      }
    }
  }
  return undefined;
}
