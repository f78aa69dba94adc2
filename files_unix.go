//go:build unix

package main

import "syscall"

// raiseFiles lifts the limit of open files to what the system allows this process, and says what it is. Go does so at its start
// too, but gives up in silence.
func raiseFiles() (uint64, bool) {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0, false
	}
	if limit.Cur < limit.Max {
		raised := limit
		raised.Cur = limit.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	return uint64(limit.Cur), true
}
