//go:build !windows

package e2e_test

// socketOf is a descriptor as package syscall takes it.
func socketOf(fd uintptr) int { return int(fd) }
