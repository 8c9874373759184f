// Opens BTF and finds a struct, or decodes everything: FILE NAME. Prints nanoseconds to open, to find and to decode.
package main

import (
	"bytes"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/btf"
)

func main() {
	start := time.Now()
	raw, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	opened := time.Now()
	var found *btf.Struct
	if err := spec.TypeByName(os.Args[2], &found); err != nil {
		panic(err)
	}
	looked := time.Now()
	count := 0
	for _, err := range spec.All() {
		if err != nil {
			panic(err)
		}
		count++
	}
	decoded := time.Now()
	fmt.Println(opened.Sub(start).Nanoseconds(), looked.Sub(opened).Nanoseconds(), decoded.Sub(looked).Nanoseconds(), count)
}
