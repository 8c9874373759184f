// The peer of maps.bench.ts over github.com/cilium/ebpf: the same words as bench/peer/maps.c.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/ringbuf"
)

type value struct {
	A, B uint64
	C, D uint32
}

func cpuTime() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

var small = map[string]*ebpf.Map{}

func smallMap(name string) *ebpf.Map {
	if m := small[name]; m != nil {
		return m
	}
	types := map[string]ebpf.MapType{"hash": ebpf.Hash, "array": ebpf.Array, "percpu_array": ebpf.PerCPUArray}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: types[name], KeySize: 4, ValueSize: 8, MaxEntries: 1024})
	check(err)
	for k := uint32(0); k < 1024; k++ {
		check(put(m, name, k))
	}
	small[name] = m
	return m
}

var places = make([]uint64, ebpf.MustPossibleCPU())

func put(m *ebpf.Map, name string, key uint32) error {
	if name != "percpu_array" {
		v := uint64(key) * 3
		return m.Update(&key, &v, ebpf.UpdateAny)
	}
	for i := range places {
		places[i] = uint64(key) * 3
	}
	return m.Update(&key, places, ebpf.UpdateAny)
}

func element(word, name string, count int) {
	m := smallMap(name)
	var sum, v uint64
	before := cpuTime()
	for i := 0; i < count; i++ {
		key := uint32(i & 1023)
		if word == "update" {
			check(put(m, name, key))
			sum += uint64(key) * 3
		} else if name == "percpu_array" {
			check(m.Lookup(&key, &places))
			sum += places[0]
		} else {
			check(m.Lookup(&key, &v))
			sum += v
		}
	}
	fmt.Println(cpuTime()-before, sum)
}

var big *ebpf.Map
var had int

func bigMap(count int) *ebpf.Map {
	if had == count {
		return big
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 24, MaxEntries: uint32(count)})
	check(err)
	keys := make([]uint32, count)
	values := make([]value, count)
	for i := range keys {
		keys[i] = uint32(i)
		values[i] = value{uint64(i), 2 * uint64(i), uint32(i & 0xff), 7}
	}
	_, err = m.BatchUpdate(keys, values, nil)
	check(err)
	big, had = m, count
	return m
}

func readBatches(count int) {
	m := bigMap(count)
	keys := make([]uint32, 65536)
	values := make([]value, 65536)
	var cursor ebpf.MapBatchCursor
	var sum uint64
	before := cpuTime()
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := 0; i < n; i++ {
			v := &values[i]
			sum += uint64(keys[i]) + v.A + v.B + uint64(v.C) + uint64(v.D)
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		check(err)
	}
	fmt.Println(cpuTime()-before, sum)
}

func readKeys(count int) {
	m := bigMap(count)
	var key uint32
	var v value
	var sum uint64
	before := cpuTime()
	entries := m.Iterate()
	for entries.Next(&key, &v) {
		sum += uint64(key) + v.A + v.B + uint64(v.C) + uint64(v.D)
	}
	check(entries.Err())
	fmt.Println(cpuTime()-before, sum)
}

type record struct {
	F [8]uint64
}

var reader *ringbuf.Reader
var producer *ebpf.Program

func openRing() {
	events, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 64 << 20})
	check(err)
	code := asm.Instructions{asm.FnKtimeGetNs.Call()}
	for at := int16(-64); at < 0; at += 8 {
		code = append(code, asm.StoreMem(asm.RFP, at, asm.R0, asm.DWord))
	}
	code = append(code,
		asm.LoadMapPtr(asm.R1, events.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -64),
		asm.Mov.Imm(asm.R3, 64),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	)
	producer, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: code})
	check(err)
	reader, err = ringbuf.NewReader(events)
	check(err)
	reader.SetDeadline(time.Now().Add(time.Hour))
}

func word64(raw []byte, at int) uint64 {
	_ = raw[at+7]
	return uint64(raw[at]) | uint64(raw[at+1])<<8 | uint64(raw[at+2])<<16 | uint64(raw[at+3])<<24 |
		uint64(raw[at+4])<<32 | uint64(raw[at+5])<<40 | uint64(raw[at+6])<<48 | uint64(raw[at+7])<<56
}

func readRing(count int) {
	if reader == nil {
		openRing()
	}
	_, err := producer.Run(&ebpf.RunOptions{Data: make([]byte, 64), Repeat: uint32(count)})
	check(err)
	var raw ringbuf.Record
	var sum uint64
	before := cpuTime()
	for i := 0; i < count; i++ {
		check(reader.ReadInto(&raw))
		var decoded record
		for f := range decoded.F {
			decoded.F[f] = word64(raw.RawSample, 8*f)
		}
		for _, field := range decoded.F {
			if field > 0 {
				sum++
			}
		}
	}
	fmt.Println(cpuTime()-before, sum)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		var count int
		fmt.Sscan(words[len(words)-1], &count)
		switch words[0] {
		case "lookup", "update":
			element(words[0], words[1], count)
		case "batch":
			readBatches(count)
		case "keys":
			readKeys(count)
		default:
			readRing(count)
		}
	}
}
