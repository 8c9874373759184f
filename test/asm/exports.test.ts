import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as asm from "../../src/asm/index.ts";

const test = suite("asm exports");

test("the module exports these names and no others", () => {
  assert.equal(Object.keys(asm).sort(), EXPORTS);
});

const EXPORTS = `
ATOMIC_FETCH AluOp AsmError AtomicOp CallSource Class DivisionOffset HELPERS JumpOp LD_IMM64 MAX_REGISTER Mode
MovOffset PseudoSource SLOT_BYTES STACK_LIMIT Size Source add addrSpaceCast and arsh asmError asmProblem assemble
assembleFile atomic be bpf bswap call callGroups callKfunc callLocal callx cmpxchg concat controlFlow decode
distanceField div dominates dominators encode encodingFault exit findHelper findLoops gotol gotox helperHint
helperNumber insertAt instruction ja jeq jge jgt jle jlt jne jset jsge jsgt jsle jslt label layout ldAbs ldBtfId
ldFunction ldImm64 ldInd ldMap ldMapIndex ldMapIndexValue ldMapValue le link load loadAcquire loopBlocks lsh
mayGoto mod mov movPercpu movsx mul neg operation or print printInstruction program r0 r1 r10 r2 r3 r4 r5 r6 r7 r8
r9 recursiveFunctions registers removeAt renderProblem replaceAt rewrite rsh sdiv secondSlotFault slotsOf smod
stackUse store storeRelease sub subprogram subregisters toDot toMermaid w0 w1 w10 w2 w3 w4 w5 w6 w7 w8 w9 withMeta
xchg xor
`
  .trim()
  .split(/\s+/)
  .sort();

test.run();
