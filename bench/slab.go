//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// slabBytes is the kernel's object memory, sockets among it. Whoever looks into /proc/<pid>/fd meanwhile leaves an inode and
// a directory entry there for each descriptor, which the kernel drops when it needs the memory: they are not counted, where
// slabinfo may be read (slabinfo(5), root only).
func slabBytes() (int64, error) {
	b, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		if b, err = os.ReadFile("/proc/meminfo"); err != nil {
			return 0, err
		}
		return kilobytes(b, "Slab:")
	}
	var total, procInodes, dentry int64
	for line := range strings.Lines(string(b)) {
		// name active objects size perslab pages : tunables limit batch shared : slabdata active slabs sharedavail
		f := strings.Fields(line)
		if len(f) < 16 || f[0] == "#" {
			continue
		}
		var n [4]int64
		for i, at := range []int{2, 3, 5, 14} {
			if n[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
				return 0, fmt.Errorf("/proc/slabinfo: %q: %w", line, err)
			}
		}
		objects, size, bytes := n[0], n[1], n[3]*n[2]*int64(os.Getpagesize())
		switch f[0] {
		case "proc_inode_cache":
			procInodes = objects
			continue
		case "dentry":
			dentry = size
		}
		total += bytes
	}
	return total - procInodes*dentry, nil
}
