package proc

import (
	"os"
	"syscall"
)

// ownGroup makes the process the leader of a group, so that what it starts can be ended with it, and makes the kernel kill it when
// the test binary dies, also when that is killed itself (PR_SET_PDEATHSIG).
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func signalGroup(p *os.Process, s syscall.Signal) error { return syscall.Kill(-p.Pid, s) }
