package node_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/node"
)

func TestProcess_KeepsItsStateAndTellsErrors(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p := node.New(t)
	var n int
	if err := p.Eval(ctx, `globalThis.n = 1; setTimeout(() => { n = 7 }, 10); n`, &n); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	if err := p.Wait(ctx, `n === 7`); err != nil {
		t.Fatal(err)
	}
	if err := p.Eval(ctx, `Promise.resolve(n + 1)`, &n); err != nil || n != 8 {
		t.Fatalf("%d, %v", n, err)
	}
	if err := p.Eval(ctx, `nothing.there`, nil); err == nil || !strings.Contains(err.Error(), "ReferenceError") {
		t.Fatalf("err = %v", err)
	}
	if err := p.Eval(ctx, `process.exit(3)`, nil); err == nil {
		t.Fatal("a process that has ended answered")
	}
}
