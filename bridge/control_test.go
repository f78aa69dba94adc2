package bridge

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

func TestWatch_HearsOfWhatIsInTheBucketAndOfEachChange(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	kv := bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED"})
	put(t, kv, "sub.a", "1")
	put(t, kv, "sub.b", "2")
	r, h := controlled(t, ns.URL(), nil)
	eventually(t, "the bucket to be read", h.is(map[string]string{"sub.a": "1", "sub.b": "2"}))
	eventually(t, "it to be watched", func() bool { ok, _ := h.state(); return ok })
	put(t, kv, "sub.a", "3")
	put(t, kv, "sub.c", "4")
	if err := kv.Delete(t.Context(), "sub.b"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the changes", h.is(map[string]string{"sub.a": "3", "sub.c": "4"}))

	// NATS goes and comes back: what is known stays, and what has happened meanwhile is read.
	ns.Shutdown()
	eventually(t, "the outage to be told", func() bool { ok, detail := h.state(); return !ok && detail == "NATS is away" })
	if !h.is(map[string]string{"sub.a": "3", "sub.c": "4"})() {
		t.Error("what was known is forgotten while NATS is away")
	}
	_ = r
}

func TestWatch_ReadsOnBehindAnOutage(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true, StoreDir: t.TempDir()})
	kv := bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED"})
	put(t, kv, "sub.a", "1")
	_, h := controlled(t, ns.URL(), nil)
	eventually(t, "the bucket", h.is(map[string]string{"sub.a": "1"}))
	if err := ns.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server to take it", func() bool { _, err := kv.PutString(t.Context(), "sub.b", "2"); return err == nil })
	eventually(t, "what came then", h.is(map[string]string{"sub.a": "1", "sub.b": "2"}))
	eventually(t, "it to be watched", func() bool { ok, _ := h.state(); return ok })
}

// A bucket that goes leaves what is known in force; one that is made again says what is so.
func TestWatch_OfABucketThatIsDeletedAndMadeAgain(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	_, h := controlled(t, ns.URL(), nil)
	eventually(t, "the absence to be told", func() bool {
		_, detail := h.state()
		return strings.Contains(detail, "does not exist") && strings.Contains(detail, "nats kv add REVOKED --ttl 24h")
	})
	kv := bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED"})
	put(t, kv, "sub.a", "1")
	eventually(t, "the bucket", h.is(map[string]string{"sub.a": "1"}))
	js, err := jetstream.New(publisherOf(t, ns.URL()))
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(t.Context(), "REVOKED"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion to be told", func() bool { ok, _ := h.state(); return !ok })
	if !h.is(map[string]string{"sub.a": "1"})() {
		t.Error("what was known is forgotten with the bucket")
	}
	kv = bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED"})
	put(t, kv, "sub.b", "2")
	eventually(t, "the new one", h.is(map[string]string{"sub.b": "2"}))
}

// Values that expire leave the set: by a marker at once, without one when the leader is asked.
func TestWatch_ValuesExpire(t *testing.T) {
	for name, cfg := range map[string]jetstream.KeyValueConfig{
		"with markers":    {Bucket: "REVOKED", TTL: 1500 * time.Millisecond, LimitMarkerTTL: time.Minute},
		"without markers": {Bucket: "REVOKED", TTL: 1500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			ns := startNATS(t, devnats.Options{JetStream: true})
			kv := bucketOf(t, ns.URL(), cfg)
			_, h := controlled(t, ns.URL(), nil)
			eventually(t, "the bucket", h.is(map[string]string{}))
			put(t, kv, "sub.a", "1")
			eventually(t, "the value", h.is(map[string]string{"sub.a": "1"}))
			eventually(t, "its end", h.is(map[string]string{}))
		})
	}
}

// A bucket may be the mirror of one in another place.
func TestWatch_OfAMirror(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	origin := bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "ORIGIN"})
	put(t, origin, "sub.a", "1")
	bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED", Mirror: &jetstream.StreamSource{Name: "KV_ORIGIN"}})
	_, h := controlled(t, ns.URL(), nil)
	eventually(t, "what was there", h.is(map[string]string{"sub.a": "1"}))
	put(t, origin, "sub.b", "2")
	eventually(t, "what comes", h.is(map[string]string{"sub.a": "1", "sub.b": "2"}))
}

// A bucket that does not fit is not taken for one that is known.
func TestWatch_OfABucketThatDoesNotFit(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	kv := bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED"})
	for n := range 200 {
		put(t, kv, fmt.Sprintf("sub.%d", n), strings.Repeat("x", 1000))
	}
	_, h := controlled(t, ns.URL(), func(c *config.Config) { c.Auth.RevocationEntries = 1 })
	eventually(t, "that to be told", func() bool {
		ok, detail := h.state()
		return !ok && strings.Contains(detail, "more than fits into memory: raise AUTH_REVOCATION_ENTRIES")
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.replaced != 0 {
		t.Error("a part was taken for the whole")
	}
}

func TestWatch_MakesTheBucketWhereItMay(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	ttl := func(c *config.Config) { c.Auth.RevocationTTL = time.Hour }
	r, h := controlled(t, ns.URL(), ttl)
	eventually(t, "the bucket to be made", h.is(map[string]string{}))
	_, other := controlled(t, ns.URL(), ttl)
	eventually(t, "its TTL to be told", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.keeps == time.Hour
	})
	if _, err := r.Revoke(t.Context(), "sub.a", []byte("1"), ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "everybody to hear of it", func() bool {
		return h.is(map[string]string{"sub.a": "1"})() && other.is(map[string]string{"sub.a": "1"})()
	})
	js, err := jetstream.New(publisherOf(t, ns.URL()))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), "REVOKED")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := kv.Status(t.Context()); err != nil || s.TTL() != time.Hour || s.LimitMarkerTTL() != time.Minute || s.History() != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	// A bucket that is there is left as it is, whatever the TTL.
	_, later := controlled(t, ns.URL(), func(c *config.Config) { c.Auth.RevocationTTL = 2 * time.Hour })
	eventually(t, "what is in it", later.is(map[string]string{"sub.a": "1"}))
	if s, err := kv.Status(t.Context()); err != nil || s.TTL() != time.Hour {
		t.Errorf("%+v, %v", s, err)
	}
}

// The same request is written once, whoever carries it out.
func TestRevoke_TheSameRequestIsWrittenOnce(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	kv := bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED", History: 5})
	for n := range 3 {
		r, h := controlled(t, ns.URL(), nil)
		eventually(t, "the bucket", func() bool { ok, _ := h.state(); return ok })
		if _, err := r.Revoke(t.Context(), "kick.a", []byte(fmt.Sprint(n)), "one"); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := kv.History(t.Context(), "kick.a"); err != nil || len(list) != 1 || string(list[0].Value()) != "0" {
		t.Errorf("%v, %v", list, err)
	}
}

// frozen is a way to a server on which nothing moves while it is frozen, and no connection ends.
func frozen(t *testing.T, to string) (url string, frozen *atomic.Bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	frozen = &atomic.Bool{}
	var relaying sync.WaitGroup
	relay := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			for frozen.Load() {
				time.Sleep(time.Millisecond)
			}
			if err != nil {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	relaying.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(to, "nats://"))
			if err != nil {
				near.Close()
				continue
			}
			relaying.Go(func() { relay(near, far) })
			relaying.Go(func() { relay(far, near) })
		}
	})
	t.Cleanup(func() { frozen.Store(false); ln.Close(); relaying.Wait() })
	return "nats://" + ln.Addr().String(), frozen
}

// A connection that has silently died is noticed long before NATS gives it up, and what came meanwhile is read behind it.
func TestWatch_NoticesAConnectionThatHasSilentlyDied(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	kv := bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED"})
	url, freeze := frozen(t, ns.URL())
	r, h := controlled(t, url, nil)
	eventually(t, "the bucket", func() bool { ok, _ := h.state(); return ok })
	freeze.Store(true)
	began := time.Now()
	put(t, kv, "sub.a", "1")
	eventually(t, "the silence to be told", func() bool { ok, _ := h.state(); return !ok })
	t.Logf("told after %v", time.Since(began))
	freeze.Store(false)
	eventually(t, "what came meanwhile", h.is(map[string]string{"sub.a": "1"}))
	eventually(t, "it to be watched again", func() bool { ok, _ := h.state(); return ok })
	r.stop() // before the way to the server goes
}

func TestRevoke_SaysWhatIsMissing(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	r, h := controlled(t, ns.URL(), nil)
	eventually(t, "the absence to be told", func() bool { _, detail := h.state(); return strings.Contains(detail, "does not exist") })
	if _, err := r.Revoke(t.Context(), "sub.a", nil, ""); !errors.Is(err, flow.ErrMissing) {
		t.Errorf("without a bucket: %v", err)
	}
	ns.Shutdown()
	eventually(t, "the outage", func() bool { _, detail := h.state(); return detail == "NATS is away" })
	if _, err := r.Revoke(t.Context(), "sub.a", nil, ""); !errors.Is(err, flow.ErrUnavailable) {
		t.Errorf("without NATS: %v", err)
	}
	none := connectedBridge(t, testNATS(startNATS(t, devnats.Options{}).URL()), 10)
	if _, err := none.Revoke(t.Context(), "sub.a", nil, ""); !errors.Is(err, flow.ErrMissing) {
		t.Errorf("not configured: %v", err)
	}
}

// Hundreds a second are heard of, none is lost.
func TestWatch_KeepsUpWithManyChanges(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	bucketOf(t, ns.URL(), jetstream.KeyValueConfig{Bucket: "REVOKED"})
	_, h := controlled(t, ns.URL(), nil)
	eventually(t, "the bucket", func() bool { ok, _ := h.state(); return ok })
	js, err := jetstream.New(publisherOf(t, ns.URL()))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	began := time.Now()
	for n := range 3000 {
		key := fmt.Sprintf("jti.%d", n)
		want[key] = "x"
		if _, err := js.PublishAsync("$KV.REVOKED."+key, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all of them", h.is(want))
	t.Logf("%d in %v", len(want), time.Since(began))
}
