package stream

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"headgate/bridge/internal/feed"
	"headgate/bridge/internal/history"
)

// A list may be as large as all states together. When it is thrown away to make room for another one, nothing holds it until it would have been forgotten.
func TestStates_WhatIsReclaimedIsNotHeld(t *testing.T) {
	st := &states{all: map[string]*shared{}, large: map[string]time.Time{}}
	room := feed.NewBudget(1 << 20).Room()
	sh := &shared{room: room, kept: room.Use()}
	st.all["key"] = sh
	forget := func() { st.forget("key", sh) }
	list := func() weak.Pointer[history.List] {
		l := &history.List{}
		st.read("key", sh, historyAnswer{List: l})
		return weak.Make(l)
	}()
	runtime.GC()
	if list.Value() == nil {
		t.Fatal("it is not kept")
	}
	if !st.reclaim() {
		t.Error("nothing was thrown away")
	}
	runtime.GC()
	if list.Value() != nil {
		t.Error("it is still there")
	}
	forget()
}
