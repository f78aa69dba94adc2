package proc

import (
	"fmt"
	"os"
)

// FDs counts the process's open file descriptors (proc(5), /proc/pid/fd).
func (p *Process) FDs() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("count the fds of %s: %w", p.Name, err)
	}
	return len(entries), nil
}
