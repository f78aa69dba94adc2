package delivery_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate/internal/cursor"
	"headgate/internal/delivery"
	"headgate/internal/flow"
)

// recorder is a ResponseWriter in memory. It can fail a write and keep the bytes, as HTTP/2 does when a stream ends while its frames
// are being written.
type recorder struct {
	mu   sync.Mutex
	all  bytes.Buffer
	fail string // fail the write that has this in it
	kept []byte
}

func (w *recorder) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != "" && bytes.Contains(b, []byte(w.fail)) {
		w.kept = b
		return 0, errors.New("stream closed")
	}
	return w.all.Write(b)
}

func (w *recorder) Flush() error                     { return nil }
func (w *recorder) SetWriteDeadline(time.Time) error { return nil }

func (w *recorder) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}

// serve runs a client on the writer transport.
func (r *rig) serve(w delivery.Writer, gone <-chan struct{}, c delivery.Client) <-chan delivery.Reason {
	ended := make(chan delivery.Reason, 1)
	if c.Source == nil {
		c.Source = r.topic.open()
	}
	c.Policy, c.Ready = r.policy, readyFrame(c.Tag)
	go func() { ended <- r.server.Serve(gone, w, &c) }()
	return ended
}

func (r *rig) wantEnd(c <-chan delivery.Reason, want delivery.Reason) {
	r.t.Helper()
	select {
	case got := <-c:
		if got != want {
			r.t.Errorf("ended with %s, want %s", got, want)
		}
	case <-time.After(10 * time.Second):
		r.t.Fatalf("never ended with %s", want)
	}
}

// The departure of a client that waits for its group must end it, and nobody else.
func TestAClientThatLeavesWhileHeldBackEndsAlone(t *testing.T) {
	r := newRig(t, "writer")
	for range 2 { // slot 0 of both shards
		r.connect("").start().expect("$ready", "")
	}
	for n := range 2 {
		gone := make(chan struct{})
		close(gone)
		ended := r.serve(&recorder{}, gone, delivery.Client{Tag: uint64(1000 + n), Key: "k",
			From: cursor.Position{{Tag: r.topic.tag, Seq: 1 << 40}}}) // never reached
		r.wantEnd(ended, delivery.ClientGone)
	}
	for _, e := range r.ends() {
		if e.Tag < 1000 {
			t.Errorf("client %d, which did nothing, ended with %s", e.Tag, e.Reason)
		}
	}
	eventually(t, "the 2 that stayed to be left", func() bool { return r.server.Streams() == 2 })
}

// A position that a heartbeat has told is ahead of a group that has not had one. Nothing is outstanding then.
func TestAPositionToldByAHeartbeatIsNotHeldBack(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		for range 2 {
			r.connect("").start().expect("$ready", "")
		}
		r.topic.skip(10)
		began := time.Now()
		if e := r.connect(position(r, 5)).start().expect("$ready", ""); e.ID != position(r, 5) {
			t.Errorf("$ready has id %s", e.ID)
		}
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("$ready took %v", d)
		}
	})
}

// A client comes from another replica, whose source was quicker. It must not be sent twice what it has: neither when it is the first
// of its group nor when it is not.
func TestAClientAheadOfItsSourceWaitsForIt(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.topic.publish("")
		ahead := position(r, 3)
		var streams []*stream
		for range 2 {
			s := r.connect(ahead).start()
			if e := s.expect("$ready", ""); e.ID != ahead {
				t.Fatalf("$ready has id %s", e.ID)
			}
			streams = append(streams, s)
		}
		for range 3 {
			r.topic.publish("")
		}
		for _, s := range streams {
			e, err := s.next()
			if err == nil && e.Type == "$live" {
				e, err = s.next()
			}
			if err != nil || e.Data != "4" {
				t.Errorf("got %+v, want the fourth: %v", e, err)
			}
		}
	})
}

// hookSource publishes once when it is asked for its progress: a message that arrives at the worst moment.
type hookSource struct {
	*source
	armed *atomic.Bool
}

func (h hookSource) Progress(p cursor.Position) {
	if h.armed.CompareAndSwap(true, false) {
		h.topic.publish("at the worst moment")
	}
	h.source.Progress(p)
}

// A reading client that is ended must not be told the position of a log it has not been given.
func TestTheEndOfAReadingClientCarriesNoPositionItHasNotReached(t *testing.T) {
	r := newRig(t, "writer")
	r.topic.slow = time.Hour // reads are never answered
	for range 100 {
		r.topic.publish("")
	}
	var armed atomic.Bool
	live, reading := &recorder{}, &recorder{}
	for n := range 2 { // one on each shard
		r.serve(live, make(chan struct{}), delivery.Client{Tag: uint64(n + 1), Key: "k", Source: hookSource{r.topic.open(), &armed}})
	}
	ended := r.serve(reading, make(chan struct{}), delivery.Client{Tag: 3, Key: "k", From: cursor.Position{{Tag: r.topic.tag, Seq: 40}}})
	eventually(t, "$ready", func() bool { return strings.Contains(reading.text(), "$ready") && r.server.Streams() == 3 })
	armed.Store(true)
	r.server.EndWhere(func(tag uint64) bool { return tag == 3 }, delivery.Draining, 0)
	r.wantEnd(ended, delivery.Draining)
	_, end, ok := strings.Cut(reading.text(), "event: $end")
	own := (cursor.Position{{Tag: r.topic.tag, Seq: 40}}).String()
	if !ok || !strings.Contains(end, "id: "+own+"\n") {
		t.Errorf("the stream ends with %q, and the client is at %s", end, own)
	}
}

// What a client is slow to take is its own matter as long as it takes something.
func TestAHugeEventReachesAClientThatIsSlowButSteady(t *testing.T) {
	onBoth(t, func(t *testing.T, r *rig) {
		r.policy.WriteTimeout = time.Second
		s := r.connect("").start()
		s.expect("$ready", "")
		const size = 8 << 20
		r.topic.publish(strings.Repeat("y", size))
		began := time.Now()
		for got := 0; got < size; {
			s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := io.ReadFull(s.body, make([]byte, 64<<10))
			if got += n; err != nil {
				t.Fatalf("cut after %d bytes and %v: %v, %v", got, time.Since(began), err, r.ends())
			}
			time.Sleep(16 * time.Millisecond) // how slow it is
		}
		if d := time.Since(began); d < 2*r.policy.WriteTimeout {
			t.Fatalf("the client was not slow: %v", d)
		}
	})
}

// stuck is a ResponseWriter whose writes end with their deadline.
type stuck struct {
	recorder
	deadline time.Time
}

func (w *stuck) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }

func (w *stuck) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("stuck")) {
		time.Sleep(time.Until(w.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	return len(b), nil
}

func TestAWriterThatTakesNothingEndsWithTheWriteTimeout(t *testing.T) {
	r := newRig(t, "writer")
	r.policy.WriteTimeout = 50 * time.Millisecond
	ended := r.serve(&stuck{}, make(chan struct{}), delivery.Client{Tag: 1, Key: "k"})
	eventually(t, "there", func() bool { return r.server.Streams() == 1 })
	r.topic.publish("stuck")
	r.wantEnd(ended, delivery.WriteTimeout)
}

// Small groups go first, but they must not go on for ever.
func TestBusySmallGroupsLeaveTimeForEverybodyElse(t *testing.T) {
	r := newRig(t, "socket")
	if !socketsHere {
		t.Skip("sockets are taken over on Linux only")
	}
	var n atomic.Int64
	r.key = func(*http.Request) string { return strconv.FormatInt(n.Add(1), 10) }
	for range 300 {
		s := r.connect("").start()
		s.expect("$ready", "")
		s.conn.SetReadDeadline(time.Time{})
		go io.Copy(io.Discard, s.conn)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				r.topic.publish("x")
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for range 5 {
		s := r.connect("")
		s.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := s.conn.Read(make([]byte, 1)); err != nil {
			t.Fatalf("a new client waits for ever: %v", err)
		}
	}
}

// Bytes that a failed write may still be reading must not become somebody else's.
func TestBytesOfAFailedWriteAreNotUsedAgain(t *testing.T) {
	r := newRig(t, "writer")
	other := newTopic()
	w := &recorder{fail: "mine"}
	ended := r.serve(w, make(chan struct{}), delivery.Client{Tag: 1, Key: "a"})
	for n := range 2 { // both shards
		r.serve(&recorder{}, make(chan struct{}), delivery.Client{Tag: uint64(n + 2), Key: "b", Source: other.open()})
	}
	eventually(t, "all there", func() bool { return r.server.Streams() == 3 })
	r.topic.publish("mine, mine, mine")
	r.wantEnd(ended, delivery.WriteError)
	for range 10 {
		other.publish("another's secret")
		time.Sleep(time.Millisecond)
	}
	if !bytes.Contains(w.kept, []byte("mine, mine, mine")) {
		t.Errorf("the bytes have become %q", w.kept)
	}
}

var _ flow.Source = hookSource{}
