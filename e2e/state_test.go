package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/e2e/internal/stack"
)

// values is the bucket that a page has in its mind after these events: a state begins anew at $ready, or where a gap says so.
func values(t *testing.T, list []seen) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, e := range list {
		var d struct {
			Key, Position, Next string
			Data                json.RawMessage
		}
		if e.Data != nil {
			must(t, json.Unmarshal([]byte(*e.Data), &d))
		}
		switch e.Type {
		case "$ready", "$gap":
			if d.Position == "snapshot" || d.Next == "snapshot" {
				clear(state)
			}
		case "put":
			state[d.Key] = string(d.Data)
		case "delete", "purge", "expire":
			delete(state, d.Key)
		}
	}
	return state
}

// values is the bucket as it is.
func (s *stored) values(t *testing.T) map[string]string {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	keys, err := s.flags.Keys(ctx)
	must(t, err)
	state := map[string]string{}
	for _, key := range keys {
		if !strings.HasPrefix(key, "eu.") {
			continue
		}
		e, err := s.flags.Get(ctx, key)
		must(t, err)
		state[key] = string(e.Value())
	}
	return state
}

func TestChromium_HasTheRightStateOfABucketWhenItComesBack(t *testing.T) {
	t.Parallel()
	t.Run("to the same headgate", func(t *testing.T) {
		t.Parallel()
		r, s := newRecorder(t), newStored(t)
		h := s.gate(t, r.origin)
		rightState(t, r, s, h.URL, h)
	})
	t.Run("to another one behind nginx", func(t *testing.T) {
		t.Parallel()
		r, s := newRecorder(t), newStored(t)
		gates := []*stack.Headgate{s.gate(t, r.origin), s.gate(t, r.origin)}
		rightState(t, r, s, stack.StartNginxFor(t, gates...).URL, gates...)
	})
}

// rightState kills all gates, changes the bucket, and starts one of them after the other, in turns.
func rightState(t *testing.T, r *recorder, s *stored, url string, gates ...*stack.Headgate) {
	for _, key := range []string{"eu.stays", "eu.changes", "eu.goes", "eu.vanishes", "us.other"} {
		s.put(t, key, "1")
	}
	r.connect(t, url+"/v1/flags/eu", "put", "delete", "purge", "expire", "$snapshot")
	r.wait(t, `{type: "$snapshot"}`, 0)

	for round := range kills {
		for _, h := range gates {
			h.Kill()
		}
		r.count(t, "error", round+1)
		ctx, cancel := soon(t)
		s.put(t, "eu.changes", strconv.Itoa(round+2))
		s.put(t, fmt.Sprintf("eu.new%d", round), "1")
		s.put(t, "us.other", strconv.Itoa(round+2))
		must(t, s.flags.Delete(ctx, "eu.goes"))
		if round == 1 { // of a key that was deleted and whose deletion is forgotten too nothing tells any more
			must(t, s.flags.Delete(ctx, "eu.vanishes"))
			must(t, s.flags.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)))
		}
		cancel()
		gates[round%len(gates)].Restart(t)
		s.put(t, "eu.mark", strconv.Itoa(round)) // the last that comes
		r.holds(t, "eu.mark", strconv.Itoa(round))
		if got, want := values(t, r.all(t)), s.values(t); !maps.Equal(got, want) {
			t.Fatalf("round %d: the page believes %v, and the bucket has %v", round, got, want)
		}
		s.put(t, "eu.goes", strconv.Itoa(100+round))
		r.holds(t, "eu.goes", strconv.Itoa(100+round))
		for i, h := range gates {
			if i != round%len(gates) {
				h.Restart(t)
			}
		}
	}
}

// holds waits until a value of a key has come.
func (r *recorder) holds(t *testing.T, key, value string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Wait(ctx, fmt.Sprintf(`seen.some((e) => e.type === "put" && JSON.parse(e.data).key === %q && JSON.stringify(JSON.parse(e.data).data) === %q)`,
		key, value)))
}

func TestChromium_StaysAwayWhenAJobIsDone(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	s := newStored(t)
	h := s.gate(t, r.origin)
	report := func(text string) {
		ctx, cancel := soon(t)
		defer cancel()
		_, err := s.js.Publish(ctx, "jobs.7", []byte(text))
		must(t, err)
	}
	report(`{"percent":10}`)
	r.connect(t, h.URL+"/v1/jobs/7", "progress", "$snapshot")
	r.wait(t, `{type: "$snapshot"}`, 0)
	report(`{"percent":60}`)
	r.wait(t, `{type: "progress", data: '{"percent":60}'}`, 0)
	h.Kill() // in the middle of the job
	r.wait(t, `{type: "error"}`, 0)
	report(`{"percent":90}`)
	h.Restart(t)
	r.wait(t, `{type: "progress", data: '{"percent":90}'}`, 0)
	report(`{"percent":100,"status":"done"}`)
	r.wait(t, `{type: "$end"}`, 0)
	r.wait(t, `{type: "error", state: 2}`, 0) // the 204

	all := r.all(t)
	got := datasOf(of(all, "progress"))
	want := []string{`{"percent":10}`, `{"percent":60}`, `{"percent":90}`, `{"percent":100,"status":"done"}`}
	if !slices.Equal(got, want) {
		t.Errorf("the page saw %q", got)
	}
	if end := datasOf(of(all, "$end")); len(end) != 1 || end[0] != `{"reason":"done","reconnect":false}` {
		t.Errorf("$end says %q", end)
	}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Wait(ctx, "source.readyState === EventSource.CLOSED"))
	noHole(t, all)
}
