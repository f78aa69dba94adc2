//go:build !linux

package proc

import "errors"

// FDs counts the process's open file descriptors. Only Linux tells.
func (p *Process) FDs() (int, error) { return 0, errors.ErrUnsupported }
