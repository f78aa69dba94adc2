package ratelimit

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

// kept is the table of streams of whoever asks the limiter.
type kept struct {
	mu      sync.Mutex
	all     []Admission
	changes uint64
}

func (k *kept) Admissions() iter.Seq[Admission] {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Values(slices.Clone(k.all))
}

func (k *kept) Changes() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changes
}

func (k *kept) add(a Admission) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, a)
	k.changes++
}

func (k *kept) take() (a Admission) {
	k.mu.Lock()
	defer k.mu.Unlock()
	a, k.all = k.all[0], k.all[1:]
	k.changes++
	return a
}

func checked(t *testing.T, l *Limiter, k *kept) string {
	t.Helper()
	found, err := l.Check(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, "\n")
}

func TestCheck_HoldsTheCountsAgainstTheStreams(t *testing.T) {
	l := New(Config{StreamsPerAddress: 10, StreamsPerUser: 10, ConnectRate: 1e6, Addresses: 3, Users: 100,
		Routes: map[string]Route{"a": {StreamsPerUser: 5}}})
	k := &kept{}
	ann := UserOf("i", "ann")
	for n, addr := range []string{"192.0.2.1", "192.0.2.1", "2001:db8::1", "192.0.2.3", "192.0.2.4", "192.0.2.5"} { // the last two share an entry
		a := Admission{Addr: netip.MustParseAddr(addr), User: ann, Route: "a"}
		if n == 3 {
			a.User, a.Route = Nobody, "b"
		}
		if _, ok := l.Connect(a.Addr, false); !ok {
			t.Fatal("refused")
		}
		if n != 0 {
			counted, r, ok := l.Admit(a.User, a.Route, false)
			if !ok {
				t.Fatal(r)
			}
			a.Counted = counted
		}
		k.add(a)
	}
	if l.connects.overflow.streams != 2 {
		t.Fatalf("%d share an entry", l.connects.overflow.streams)
	}
	if found := checked(t, l, k); found != "" {
		t.Fatal(found)
	}
	address := &l.connects.slots[l.connects.index[keyOf(netip.MustParseAddr("192.0.2.1"))]]
	user := &l.users.slots[l.users.index[key(ann)]]
	onRoute := &l.userRoutes.slots[l.userRoutes.index[ann.on("a")]]
	for says, change := range map[string]func() (undo func()){
		"the process counts other":     func() func() { l.streams++; return func() { l.streams-- } },
		"route a counts other":         func() func() { l.routes["a"]--; return func() { l.routes["a"]++ } },
		"route gone counts other":      func() func() { l.routes["gone"] = 1; return func() { delete(l.routes, "gone") } },
		"the entries by address count": func() func() { address.streams--; return func() { address.streams++ } },
		"an entry by address counts":   func() func() { address.streams++; return func() { address.streams-- } },
		"an entry by user counts":      func() func() { user.streams--; return func() { user.streams++ } },
		"the entries by user count":    func() func() { l.users.overflow.streams++; return func() { l.users.overflow.streams-- } },
		"an entry by user on a route":  func() func() { onRoute.streams += 2; return func() { onRoute.streams -= 2 } },
		"says something, and nobody finds": func() func() {
			i := l.users.index[key(ann)]
			delete(l.users.index, key(ann))
			return func() { l.users.index[key(ann)] = i }
		},
	} {
		undo := change()
		found := checked(t, l, k)
		undo()
		if !strings.Contains(found, says) {
			t.Errorf("%s: %q", says, found)
		}
	}
	for len(k.all) > 0 {
		l.Release(k.take())
	}
	if found := checked(t, l, k); found != "" {
		t.Errorf("afterwards: %s", found)
	}
}

// Streams that come and go while it looks are not taken for miscounted; one that was never given back is found among them as soon as it is quiet.
func TestCheck_WhileStreamsComeAndGo(t *testing.T) {
	l := New(Config{StreamsPerAddress: 1000, StreamsPerUser: 1000, Addresses: 100, Users: 100})
	k := &kept{}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			a := Admission{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), User: UserOf("i", "ann"), Route: "a"}
			for {
				select {
				case <-stop:
					return
				default:
				}
				l.Connect(a.Addr, false)
				a.Counted, _, _ = l.Admit(a.User, a.Route, false)
				k.add(a)
				l.Release(k.take())
			}
		})
	}
	for range 30 {
		if found := checked(t, l, k); found != "" {
			t.Error(found)
		}
	}
	close(stop)
	all.Wait()
	l.Connect(netip.MustParseAddr("192.0.2.1"), false)
	if found := checked(t, l, k); !strings.Contains(found, "an entry by address counts") {
		t.Errorf("a leak is not found: %q", found)
	}
}
