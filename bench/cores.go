//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// cores says who runs where: the server under test has a core of its own; the broker, the publisher and the clients share
// another. With a single core they all meet there, and only figures of the same run can be compared at all.
var cores struct{ server, clients int }

// chooseCores takes the first two cores this process may use and moves the process to the second.
func chooseCores() error {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("cores: %w", err)
	}
	var allowed []int
	for c := 0; c < 1024 && len(allowed) < 2; c++ {
		if set.IsSet(c) {
			allowed = append(allowed, c)
		}
	}
	cores.server, cores.clients = allowed[0], allowed[len(allowed)-1]
	return pinSelf(cores.clients)
}

// pinSelf moves every thread of this process; threads made later inherit it.
func pinSelf(core int) error {
	var one unix.CPUSet
	one.Set(core)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &one); err != nil && err != unix.ESRCH {
			return fmt.Errorf("pin thread %d to core %d: %w", tid, core, err)
		}
	}
	return nil
}
