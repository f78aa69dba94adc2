// Package proc runs the programs that a test puts together, each as a process of its own whose output is kept and whose end is
// waited for. A process never outlives the test binary.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	keepOutput = 1 << 20         // bytes of output remembered; more than any test writes
	showOutput = 6000            // bytes of it shown when a test fails
	killWait   = 5 * time.Second // between asking a process to end and killing it
)

// Process is one started program. Its methods may be called from any goroutine.
type Process struct {
	Name string

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // why, valid after done

	mu      sync.Mutex
	output  bytes.Buffer
	changed chan struct{} // closed and replaced when output grows
}

// Start starts cmd, whose output it takes. The caller stops it.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// StartT is Start for the length of a test, which fails when the program cannot be started, and shows its output when it fails.
func StartT(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := Start(name, cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, tail(p.Output(), showOutput))
		}
	})
	return p
}

// Write takes the program's output.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.output.Len() < keepOutput {
		p.output.Write(b)
	}
	close(p.changed)
	p.changed = make(chan struct{})
	return len(b), nil
}

// Output is everything the program has written.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// WaitOutput waits until the program's output matches re, and returns the submatches.
func (p *Process) WaitOutput(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	for {
		p.mu.Lock()
		m, changed := re.FindStringSubmatch(p.output.String()), p.changed
		p.mu.Unlock()
		if m != nil {
			return m, nil
		}
		select {
		case <-changed:
		case <-p.done:
			if m := re.FindStringSubmatch(p.Output()); m != nil {
				return m, nil
			}
			return nil, fmt.Errorf("%s ended (%v) before it wrote %q:\n%s", p.Name, p.err, re, tail(p.Output(), showOutput))
		case <-ctx.Done():
			return nil, fmt.Errorf("%s has not written %q: %w\n%s", p.Name, re, ctx.Err(), tail(p.Output(), showOutput))
		}
	}
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process and returns its exit code, -1 when a signal ended it.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("%s has not ended: %w", p.Name, ctx.Err())
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok {
		return exit.ExitCode(), nil
	}
	return 0, p.err
}

// Kill ends the process and what it has started at once, as a crash would, and waits for it.
func (p *Process) Kill() {
	_ = signalGroup(p.cmd.Process, syscall.SIGKILL)
	<-p.done
}

// Stop asks the process to end, kills it when it does not, and waits for it. It may be called more than once.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = signalGroup(p.cmd.Process, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(killWait):
		p.Kill()
	}
}

// given are the addresses that FreeAddr has given: two parts of one test must not get the same.
var given sync.Map

// FreeAddr gives ports below those that the system gives to outgoing connections (from 32768 on with Linux, from 49152 on elsewhere): the
// streams of one test must not take the port of a program that another one has just ended and starts again.
const firstPort, lastPort = 15000, 32000

// FreeAddr is a loopback address on which nobody listens, and another one each time. Another process may take it before it is used; it is
// one of thousands, so that takes a rare accident.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort))
		if _, before := given.LoadOrStore(addr, true); before {
			continue
		}
		if ln, err := net.Listen("tcp", addr); err == nil {
			ln.Close()
			return addr
		}
	}
	t.Fatalf("find a free port: none of a thousand between %d and %d can be listened on", firstPort, lastPort)
	return ""
}

// WaitListening waits until something accepts connections on addr, or p ends.
func (p *Process) WaitListening(ctx context.Context, addr string) error {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(20 * time.Millisecond): // a listener makes no event that another process could wait for
		case <-p.done:
			return fmt.Errorf("%s ended (%v) before it listened on %s:\n%s", p.Name, p.err, addr, tail(p.Output(), showOutput))
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %w\n%s", p.Name, addr, err, tail(p.Output(), showOutput))
		}
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if _, after, ok := strings.Cut(s, "\n"); ok {
		return "…\n" + after
	}
	return s
}
