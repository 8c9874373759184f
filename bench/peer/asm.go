// The peer of asm.bench.ts: builds, encodes and decodes the same instructions with github.com/cilium/ebpf/asm.
// Each line on standard input, `build N`, `encode N` or `decode N`, is answered with the nanoseconds N repetitions took.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/cilium/ebpf/asm"
)

const groups = 256

func build() asm.Instructions {
	insns := make(asm.Instructions, 0, groups*8)
	for i := 0; i < groups; i++ {
		label := "l" + strconv.Itoa(i)
		insns = append(insns,
			asm.Mov.Imm(asm.R0, int32(i)).WithSymbol(label),
			asm.Add.Reg(asm.R1, asm.R0),
			asm.LoadMem(asm.R2, asm.R1, 8, asm.DWord),
			asm.StoreMem(asm.RFP, -4, asm.R2, asm.Word),
			asm.JEq.Imm(asm.R0, 5, label),
			asm.Mov.Imm32(asm.R1, 7),
			asm.FnKtimeGetNs.Call(),
			asm.Return(),
		)
	}
	return insns
}

func main() {
	insns := build()
	var buffer bytes.Buffer
	if err := insns.Marshal(&buffer, binary.LittleEndian); err != nil {
		panic(err)
	}
	code := buffer.Bytes()
	kept := 0
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var what string
		var count int
		fmt.Sscan(lines.Text(), &what, &count)
		start := time.Now()
		for i := 0; i < count; i++ {
			switch what {
			case "build":
				kept += len(build())
			case "encode":
				out := bytes.NewBuffer(make([]byte, 0, len(code)))
				if err := insns.Marshal(out, binary.LittleEndian); err != nil {
					panic(err)
				}
				kept += out.Len()
			case "decode":
				decoded, err := asm.AppendInstructions(nil, bytes.NewReader(code), binary.LittleEndian, "linux")
				if err != nil {
					panic(err)
				}
				kept += len(decoded)
			}
		}
		fmt.Println(time.Since(start).Nanoseconds())
	}
	fmt.Fprintln(os.Stderr, kept)
}
