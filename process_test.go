package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate/internal/config"
)

const patience = 20 * time.Second // for anything that should be quick on any machine

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestParts_EndInTheReverseOrder(t *testing.T) {
	ps := newParts(quiet())
	var ended []string
	for _, name := range []string{"first", "second", "third"} {
		ps.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			ended = append(ended, name)
			return nil
		})
	}
	if err := ps.stop(nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ended, []string{"third", "second", "first"}) {
		t.Errorf("ended: %v", ended)
	}
}

func TestParts_AFailureIsToldWithItsName(t *testing.T) {
	ps := newParts(quiet())
	ps.start("bridge", func(context.Context) error { return errors.New("broken") })
	select {
	case err := <-ps.failed:
		if err.Error() != "bridge: broken" {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("no failure was told")
	}
	if err := ps.stop(nil); err != nil {
		t.Error(err)
	}
}

func TestParts_OneThatDoesNotEndIsNamedAndLeftWhenItHurries(t *testing.T) {
	ps := newParts(quiet())
	release := make(chan struct{})
	ps.start("stubborn", func(context.Context) error { <-release; return nil })
	hurry := make(chan struct{})
	close(hurry)
	if err := ps.stop(hurry); err == nil || !strings.Contains(err.Error(), "stubborn") {
		t.Errorf("stop: %v", err)
	}
	close(release)
	<-ps.list[0].done
}

func TestJanitor_CleansUpOnceAfterAStorm(t *testing.T) {
	streams, cleaned := 0, 0
	j := newJanitor(func() int { return streams }, quiet())
	half := 0
	j.free = func() { half++; cleaned = half / 2 } // two collections make one clean-up
	for _, step := range []struct {
		streams, cleaned int
		why              string
	}{
		{0, 0, "nothing has happened"},
		{900, 0, "that was no storm"},
		{9000, 0, "it still blows"},
		{9050, 1, "it has settled"},
		{9060, 1, "once is enough"},
		{100, 1, "streams that go leave nothing"},
		{9000, 1, "they come back"},
		{9000, 2, "and have settled"},
	} {
		streams = step.streams
		j.look()
		if cleaned != step.cleaned {
			t.Fatalf("at %d streams cleaned %d times, want %d: %s", step.streams, cleaned, step.cleaned, step.why)
		}
	}
}

func TestTune_GivesGoOneProcessorMoreThanThereAreShardsUnlessTheOperatorDecides(t *testing.T) {
	procs, gc := runtime.GOMAXPROCS(0), debug.SetGCPercent(100)
	defer func() { runtime.GOMAXPROCS(procs); debug.SetGCPercent(gc) }()
	if shards := tune(nil, 3, quiet()); shards != 3 || runtime.GOMAXPROCS(0) != 4 {
		t.Errorf("asked for 3: %d shards on %d", shards, runtime.GOMAXPROCS(0))
	}
	if percent := debug.SetGCPercent(100); percent != gcPercent {
		t.Errorf("GOGC is %d", percent)
	}
	runtime.GOMAXPROCS(4)
	if shards := tune([]string{"GOMAXPROCS=4", "GOGC=50"}, 0, quiet()); shards != 3 || runtime.GOMAXPROCS(0) != 4 {
		t.Errorf("the operator's 4: %d shards on %d", shards, runtime.GOMAXPROCS(0))
	}
	if percent := debug.SetGCPercent(100); percent != 100 {
		t.Errorf("the operator's GOGC was changed to %d", percent)
	}
}

func TestListen_TakesTheNextPortOnlyWhereThatIsFine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	open := func(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }
	if _, err := listen("HTTP_ADDR", taken.Addr().String(), false, open); err == nil {
		t.Error("the same port twice")
	}
	ln, err := listen("HTTP_ADDR", taken.Addr().String(), true, open)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if first, next := taken.Addr().(*net.TCPAddr).Port, ln.Addr().(*net.TCPAddr).Port; next <= first || next > first+nextPorts {
		t.Errorf("taken %d, got %d", first, next)
	}
}

func TestExample_FitsThePattern(t *testing.T) {
	for _, tc := range []struct{ param, pattern, want string }{
		{"symbol", "^(?:[A-Z]{1,6})$", "ACME"}, {"user", "", "alice"}, {"id", "[0-9]+", "1"}, {"tenant", "", "demo"}, {"code", "x{9}", ""}, {"bad", "(", ""},
	} {
		if got := example(tc.param, tc.pattern); got != tc.want {
			t.Errorf("example(%q, %q) = %q, want %q", tc.param, tc.pattern, got, tc.want)
		}
	}
}

func TestBanner_ShowsNoPasswordOfNATS(t *testing.T) {
	if got := first("nats://gate:hunter2@127.0.0.1:4222, nats://b:4222"); got != "nats://127.0.0.1:4222" {
		t.Errorf("first: %s", got)
	}
}

func TestPage_IsServedOnlyWhenSwitchedOn(t *testing.T) {
	if page(config.Config{}, "", "") != nil {
		t.Error("a page without CONSOLE")
	}
	if page(config.Config{Console: true}, "", "") == nil {
		t.Error("no page with CONSOLE")
	}
}
