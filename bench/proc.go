//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Proc is a child process, pinned to one core before it starts, so that its Go runtime counts that core only.
type Proc struct {
	Name string
	Pid  int

	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string   // standard output
	done  chan struct{} // closed when it has ended
	tail  *tail         // of standard error
}

// startProc starts a program on a core. Its standard input stays open until Stop, and it dies with this process.
func startProc(name string, core int, env []string, path string, args ...string) (*Proc, error) {
	p := &Proc{Name: name, cmd: exec.Command(path, args...), lines: make(chan string, 64), done: make(chan struct{}), tail: &tail{}}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p.tail
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := pinned(core, p.cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.Pid = p.cmd.Process.Pid
	go p.wait(stdout)
	return p, nil
}

func (p *Proc) wait(stdout io.Reader) {
	defer close(p.done)
	defer close(p.lines)
	for s := bufio.NewScanner(stdout); s.Scan(); {
		select {
		case p.lines <- s.Text():
		default: // nobody reads this one's output
		}
	}
	_ = p.cmd.Wait()
}

// pinned calls start on a thread that may run on the given core only. A child inherits that; the thread gets its cores back.
func pinned(core int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, &before))
}

// startRole starts this executable in a role and waits for its line.
func startRole(spec roleSpec, core int) (*Proc, roleReady, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, roleReady{}, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, roleReady{}, err
	}
	p, err := startProc(spec.Role, core, []string{roleEnv + "=" + string(text)}, self)
	if err != nil {
		return nil, roleReady{}, err
	}
	var ready roleReady
	line, err := p.Line(6 * time.Minute)
	if err == nil {
		err = json.Unmarshal([]byte(line), &ready)
	}
	if err != nil {
		p.Stop()
		return nil, roleReady{}, fmt.Errorf("%s: %w", spec.Role, err)
	}
	return p, ready, nil
}

// Line waits for the next line of output.
func (p *Proc) Line(limit time.Duration) (string, error) {
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", fmt.Errorf("%s ended: %s", p.Name, p.tail.String())
		}
		return line, nil
	case <-time.After(limit):
		return "", fmt.Errorf("%s said nothing for %v", p.Name, limit)
	}
}

// Alive says whether the process still runs.
func (p *Proc) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Stop ends the process and waits for its end.
func (p *Proc) Stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Kill()
	<-p.done
}

const clockTick = 10 * time.Millisecond // of /proc/stat: USER_HZ is 100 on every Linux that Go runs on

// cpuOf is the processor time that a process has used, user and system, to the nanosecond: its clock (clock_getcpuclockid(3), whose number
// the kernel makes as here, include/linux/posix-timers_types.h). Rounded to ticks it stands in /proc/<pid>/stat.
func cpuOf(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|scheduled, &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// rssOf is the resident memory of a process in bytes.
func rssOf(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return kilobytes(b, "VmRSS:")
}

// kilobytes finds "name   123 kB" in a proc file and returns bytes.
func kilobytes(b []byte, name string) (int64, error) {
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no %s found", name)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - 4096; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
