//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// slab is the kernel's object memory in bytes, sockets among it. Whoever looks into /proc/<pid>/fd meanwhile leaves an inode and a directory
// entry there for each descriptor, which the kernel drops when it needs the memory: they are set apart, where slabinfo may be
// read (slabinfo(5), root only).
type slab struct{ objects, traces int64 }

func readSlab() (slab, error) {
	b, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		if b, err = os.ReadFile("/proc/meminfo"); err != nil {
			return slab{}, err
		}
		all, err := kilobytes(b, "Slab:")
		return slab{objects: all}, err
	}
	var total, inodes, inodeBytes, dentry int64
	for line := range strings.Lines(string(b)) {
		// name active objects size perslab pages : tunables limit batch shared : slabdata active slabs sharedavail
		f := strings.Fields(line)
		if len(f) < 16 || f[0] == "#" {
			continue
		}
		var n [4]int64
		for i, at := range []int{2, 3, 5, 14} {
			if n[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
				return slab{}, fmt.Errorf("/proc/slabinfo: %q: %w", line, err)
			}
		}
		objects, size, bytes := n[0], n[1], n[3]*n[2]*int64(os.Getpagesize())
		switch f[0] {
		case "proc_inode_cache":
			inodes, inodeBytes = objects, bytes
		case "dentry":
			dentry = size
		}
		total += bytes
	}
	traces := inodeBytes + inodes*dentry
	return slab{objects: total - traces, traces: traces}, nil
}

// slabBytes is the kernel's object memory without such traces.
func slabBytes() (int64, error) {
	s, err := readSlab()
	return s.objects, err
}
