package reload

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched is a file that is being reloaded.
type watched struct {
	*Reloader
	t    *testing.T
	file string
	log  *buffer

	mu    sync.Mutex
	taken []string
	err   error // what Take says
	left  int   // so often Settle is false
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func watch(t *testing.T, every time.Duration) *watched {
	t.Helper()
	w := &watched{t: t, file: filepath.Join(t.TempDir(), "f"), log: &buffer{}}
	w.write("first")
	w.Reloader = New(Config{File: w.file, Hash: Hash([]byte("first")), Every: every, Take: w.take, Settle: w.settle,
		Log: slog.New(slog.NewTextHandler(w.log, nil)), Registerer: prometheus.NewRegistry()})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	return w
}

func (w *watched) take(_ context.Context, content []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = append(w.taken, string(content))
	return w.err
}

func (w *watched) settle(context.Context) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left--
	return w.left <= 0
}

// write puts a whole file in place: the looks of most tests are too close together to wait for one that is being written.
func (w *watched) write(text string) {
	w.t.Helper()
	if err := errors.Join(os.WriteFile(w.file+".new", []byte(text), 0o600), os.Rename(w.file+".new", w.file)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) says(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *watched) until(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain: %s\n%s", what, w.log)
		}
	}
}

func (w *watched) asked() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.taken, ",")
}

func (w *watched) counted(result string) float64 {
	return testutil.ToFloat64(w.metrics.results[result])
}

func TestReloader_TakesWhatIsNewAndNothingTwice(t *testing.T) {
	w := watch(t, time.Millisecond)
	w.write("second")
	w.until("it is taken", func() bool { return w.counted(taken) == 1 })
	w.write("second") // the same again, written anew
	w.write("third")
	w.until("the next is taken", func() bool { return w.counted(taken) == 2 })
	if got := w.asked(); got != "second,third" {
		t.Errorf("asked to take %s", got)
	}
	if !strings.HasPrefix(w.State(), Hash([]byte("third"))[:12]) {
		t.Errorf("state %q", w.State())
	}
}

// An editor, or a copy, writes bit by bit; every bit could be a set of routes of its own.
func TestReloader_WaitsUntilTheFileIsWritten(t *testing.T) {
	for range 10 {
		if w := watch(t, 0); w.writtenSlowly() {
			return
		}
	}
	t.Error("this machine never writes without a pause: nothing was shown")
}

// writtenSlowly writes a file bit by bit, and wants all of it to be taken. It is false when it did not write fast enough for that.
func (w *watched) writtenSlowly() bool {
	w.t.Helper()
	file, err := os.OpenFile(w.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close()
	text, pause, before := "first", time.Duration(0), time.Now()
	for n := range 60 {
		if _, err := file.WriteString("x"); err != nil {
			w.t.Fatal(err)
		}
		if n == 0 {
			w.Ask()
		}
		text += "x"
		pause, before = max(pause, time.Since(before)), time.Now()
		time.Sleep(settleTime / 20) // a rate, not a wait
	}
	w.until("something is taken", func() bool { return w.counted(taken) > 0 })
	if pause > settleTime/2 {
		return false
	}
	if got := w.asked(); got != text {
		w.t.Errorf("%q was taken of %q", got, text)
	}
	return true
}

// Whoever asks hears that it is still refused: silence would mean that all is well.
func TestReloader_WhatIsRefusedIsSaidOnceAndToWhoeverAsks(t *testing.T) {
	w := watch(t, time.Millisecond)
	w.says(errors.New("line 3: no"))
	w.write("bad")
	w.until("it is refused", func() bool { return w.counted(refused) == 1 })
	w.Ask()
	w.until("it is tried again", func() bool { return w.asked() == "bad,bad" })
	w.until("it is said again", func() bool { return strings.Count(w.log.String(), "line 3: no") == 2 })
	if got := w.counted(refused); got != 1 {
		t.Errorf("counted %v times", got)
	}
	if got := w.State(); !strings.Contains(got, "line 3: no") || !strings.HasPrefix(got, Hash([]byte("first"))[:12]) {
		t.Errorf("state %q", got)
	}
	w.says(errors.New("line 4: no"))
	w.Ask()
	w.until("other words are said", func() bool { return strings.Contains(w.log.String(), "line 4: no") })
	w.says(nil)
	w.Ask()
	w.until("it is taken", func() bool { return w.counted(taken) == 1 && testutil.ToFloat64(w.metrics.ok) == 1 })
	if strings.Contains(w.State(), "refused") {
		t.Errorf("state %q", w.State())
	}
}

func TestReloader_AFileThatIsGoneIsRefusedAndWhatIsInUseNeedsNotBeTaken(t *testing.T) {
	w := watch(t, time.Millisecond)
	if err := os.Remove(w.file); err != nil {
		t.Fatal(err)
	}
	w.until("it is refused", func() bool { return w.counted(refused) == 1 && testutil.ToFloat64(w.metrics.ok) == 0 })
	w.until("it is said", func() bool { return strings.Contains(w.log.String(), "no such file") })
	if got := w.log.String(); !strings.Contains(got, `hash="" `) {
		t.Errorf("a file that is not there has a hash: %s", got)
	}
	w.write("first")
	w.until("all is well", func() bool { return testutil.ToFloat64(w.metrics.ok) == 1 })
	if got := w.asked(); got != "" {
		t.Errorf("asked to take %s", got)
	}
}

func TestReloader_SettlesUntilItIsDone(t *testing.T) {
	w := watch(t, time.Millisecond)
	w.mu.Lock()
	w.left = 2
	w.mu.Unlock()
	w.write("second")
	w.until("it has settled", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.left == 0 })
}

func TestHash_FitsTheGauge(t *testing.T) {
	a, b := newMetrics(nil), newMetrics(nil)
	a.take(Hash([]byte("a")), time.Now())
	b.take(Hash([]byte("b")), time.Now())
	if x, y := testutil.ToFloat64(a.hash), testutil.ToFloat64(b.hash); x == 0 || x == y || x != float64(uint64(x)) {
		t.Errorf("%v, %v", x, y)
	}
}
