// Package node drives Node as package browser drives Chromium: it evaluates JavaScript in one process, whose state stays.
package node

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"testing"
	"time"

	"headgate/e2e/internal/need"
)

const pollEvery = 25 * time.Millisecond // how often Wait looks

//go:embed loop.mjs
var loop string

// Process is one Node. Its methods may be called from any goroutine; calls are answered one after the other.
type Process struct {
	mu    sync.Mutex
	calls io.Writer
	lines chan []byte // closed when the process has ended
	wrote *text       // what it wrote on its own
}

// text keeps what is written to it.
type text struct {
	mu sync.Mutex
	b  []byte
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	return len(p), nil
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

// New starts Node for the length of the test.
func New(t testing.TB) *Process {
	t.Helper()
	cmd := exec.Command(need.Program(t, "nodejs", "node"), "--input-type=module", "--eval", loop)
	p := &Process{lines: make(chan []byte), wrote: &text{}}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.calls, cmd.Stderr = in, p.wrote
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.read(out) })
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range p.lines { // what nobody has waited for
		}
		reading.Wait()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("what node wrote: %s", p.wrote)
		}
	})
	return p
}

func (p *Process) read(out io.Reader) {
	defer close(p.lines)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		p.lines <- append([]byte(nil), lines.Bytes()...)
	}
}

// Said is what the process wrote on its own: warnings, uncaught errors.
func (p *Process) Said() string { return p.wrote.String() }

// Eval evaluates a JavaScript expression, waits for it when it is a promise, and puts its value into out, unless that is nil.
func (p *Process) Eval(ctx context.Context, expression string, out any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	call, err := json.Marshal(expression)
	if err != nil {
		return err
	}
	if _, err := p.calls.Write(append(call, '\n')); err != nil {
		return fmt.Errorf("node has ended: %w: %s", err, p.Said())
	}
	select {
	case line, ok := <-p.lines:
		if !ok {
			return fmt.Errorf("node has ended: %s", p.Said())
		}
		var answer struct {
			Value json.RawMessage
			Error string
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("node answered %q: %w", line, err)
		}
		if answer.Error != "" {
			return fmt.Errorf("evaluate %s: %s", expression, answer.Error)
		}
		if out == nil || len(answer.Value) == 0 {
			return nil
		}
		return json.Unmarshal(answer.Value, out)
	case <-ctx.Done():
		return fmt.Errorf("evaluate %s: %w", expression, ctx.Err())
	}
}

// Wait waits until a JavaScript expression is true.
func (p *Process) Wait(ctx context.Context, expression string) error {
	for {
		var ok bool
		err := p.Eval(ctx, "!!("+expression+")", &ok)
		if ok {
			return nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last error: %v)", expression, ctx.Err(), err)
		}
	}
}
