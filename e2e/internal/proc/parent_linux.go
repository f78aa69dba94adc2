package proc

import "syscall"

// dieWithParent makes the kernel kill the process when the test binary dies, also when that is killed itself (PR_SET_PDEATHSIG).
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
