// The peer of core.bench.ts: computes the relocations of one program for a kernel's types: OBJECT PROGRAM BTF. Prints
// nanoseconds from opening the types, the opening of the object left out.
package main

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

func main() {
	spec, err := ebpf.LoadCollectionSpec(os.Args[1])
	if err != nil {
		panic(err)
	}
	program := spec.Programs[os.Args[2]]
	var relocations []*btf.CORERelocation
	for i := range program.Instructions {
		if relocation := btf.CORERelocationMetadata(&program.Instructions[i]); relocation != nil {
			relocations = append(relocations, relocation)
		}
	}
	start := time.Now()
	raw, err := os.ReadFile(os.Args[3])
	if err != nil {
		panic(err)
	}
	types, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	fixups, err := btf.CORERelocate(relocations, []*btf.Spec{types}, program.ByteOrder, func(btf.Type) (btf.TypeID, error) { return 0, nil })
	if err != nil {
		panic(err)
	}
	fmt.Println(time.Since(start).Nanoseconds(), len(fixups))
}
