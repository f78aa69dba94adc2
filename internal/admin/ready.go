package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Check is one condition of readiness.
type Check struct {
	Name string
	Run  func() (ok bool, detail string) // quick, from any goroutine; detail is for operators
}

// NATSState is what readiness needs to know of the way to NATS.
type NATSState struct {
	Connected     bool
	EverConnected bool
	Since         time.Time // of the present state
	Detail        string    // for operators: where to, or why not
}

// RoutesLoaded is not ready while there is nothing to serve.
func RoutesLoaded(count func() int) Check {
	return Check{Name: "routes", Run: func() (bool, string) {
		n := count()
		if n == 0 {
			return false, "no routes: set ROUTES_FILE, or SUBJECTS_ALLOW"
		}
		return true, fmt.Sprintf("%d loaded", n)
	}}
}

// NATSReached is not ready until NATS has been reached once. Afterwards it tolerates an outage for the grace, for open streams
// survive it and new ones wait for it; a grace of 0 tolerates it for ever. now is the clock.
func NATSReached(state func() NATSState, grace time.Duration, now func() time.Time) Check {
	return Check{Name: "nats", Run: func() (bool, string) {
		s := state()
		switch {
		case s.Connected:
			return true, detail("connected", s.Detail)
		case !s.EverConnected:
			return false, detail("not reached yet", s.Detail)
		}
		away := now().Sub(s.Since)
		text := detail(fmt.Sprintf("away for %s", away.Round(time.Second)), s.Detail)
		switch {
		case grace == 0:
			return true, text + "; open streams stay open"
		case away <= grace:
			return true, text + fmt.Sprintf("; tolerated for %s", grace)
		}
		return false, text + fmt.Sprintf("; longer than READINESS_NATS_GRACE=%s", grace)
	}}
}

// Prefilled is not ready while the newest messages of the streams are being read into memory, so that a process that has just started
// is not asked for what it would have to fetch. It waits for limit at most: a slow NATS must not keep everybody out.
func Prefilled(state func() (bool, string), limit time.Duration, now func() time.Time) Check {
	began := now()
	return Check{Name: "streams", Run: func() (bool, string) {
		ok, text := state()
		if !ok && now().Sub(began) > limit {
			return true, text + fmt.Sprintf("; not waited for any longer than JETSTREAM_PREFILL_TIMEOUT=%s", limit)
		}
		return ok, text
	}}
}

// RevocationsKnown is not ready until the revocations have been read once: before that no token can be checked. Later they are known,
// also while new ones are not heard of.
func RevocationsKnown(state func() (bool, string)) Check {
	return Check{Name: "revocations", Run: state}
}

// Reloaded is always ready: what is refused leaves that in use which was there before. The detail says which.
func Reloaded(name string, state func() string) Check {
	return Check{Name: name, Run: func() (bool, string) { return true, state() }}
}

// NotDraining is not ready once the drain has begun, so that no new streams are sent here.
func NotDraining(draining func() bool) Check {
	return Check{Name: "drain", Run: func() (bool, string) {
		if draining() {
			return false, "draining: this process is about to end"
		}
		return true, "not draining"
	}}
}

func detail(what, more string) string {
	if more == "" {
		return what
	}
	return what + ": " + more
}

// answer is the body of /readyz.
type answer struct {
	Ready  bool     `json:"ready"`
	Checks []result `json:"checks"`
}

type result struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// readiness runs every check, also after one has failed: an operator wants to see them all.
func readiness(checks []Check) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a := answer{Ready: true, Checks: make([]result, len(checks))}
		for i, c := range checks {
			ok, text := c.Run()
			a.Checks[i] = result{Name: c.Name, OK: ok, Detail: text}
			a.Ready = a.Ready && ok
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store") // RFC 9111 section 5.2.2.5
		status := http.StatusOK
		if !a.Ready {
			status = http.StatusServiceUnavailable // what a kubelet takes for "not ready"
		}
		w.WriteHeader(status)
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(a)
	})
}
