package e2e_test

import "syscall"

// socketOf is a descriptor as package syscall takes it.
func socketOf(fd uintptr) syscall.Handle { return syscall.Handle(fd) }
