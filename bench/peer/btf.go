// Opens BTF, finds a struct and decodes everything: FILE NAME. Prints nanoseconds to open, to find and to decode, and by
// how many bytes the process had grown at most after finding and after decoding.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cilium/ebpf/btf"
)

// A line of /proc/self/status, in bytes.
func status(name string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	var kilobytes int64
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, name) {
			fmt.Sscan(strings.TrimPrefix(line, name), &kilobytes)
		}
	}
	return kilobytes * 1024
}

func main() {
	before := status("VmRSS:")
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
	peakFind := status("VmHWM:") - before
	again := time.Now()
	count := 0
	for _, err := range spec.All() {
		if err != nil {
			panic(err)
		}
		count++
	}
	decoded := time.Now()
	fmt.Println(opened.Sub(start).Nanoseconds(), looked.Sub(opened).Nanoseconds(), decoded.Sub(again).Nanoseconds(), peakFind, status("VmHWM:")-before, count)
}
