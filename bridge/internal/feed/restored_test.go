package feed

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
)

// disk is a world whose disk can be put back to what it was.
type disk struct {
	*world
	dir, backup string
}

func newDisk(t *testing.T) *disk {
	dir := t.TempDir()
	s, err := devnats.Start(devnats.Options{JetStream: true, StoreDir: dir, Port: 0})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return &disk{worldOn(t, s, s.URL()), dir, t.TempDir()}
}

// restart does something to the disk while the server is down.
func (d *disk) restart(stream string, do func() error) {
	d.server.Stop()
	must(d.t, do())
	must(d.t, d.server.Restart())
	eventually(d.t, "the publisher", func() bool { _, err := d.js.Stream(context.Background(), stream); return err == nil })
}

func (d *disk) keep(stream string) {
	d.restart(stream, func() error { return os.CopyFS(d.backup, os.DirFS(d.dir)) })
}

// putBack puts the disk back while a feed is away, and lets the stream grow before the feed looks.
func (d *disk) putBack(f *running, stream string, grow func()) {
	f.Disconnected()
	eventually(d.t, "the session to end", func() bool { return d.info(stream).State.Consumers == 0 })
	d.restart(stream, func() error { return cmp.Or(os.RemoveAll(d.dir), os.CopyFS(d.dir, os.DirFS(d.backup))) })
	grow()
	f.Connected(f.nc)
}

// A disk is put back to what it was, as servers before 2.15 also do with a backup: the stream has its time of creation, and before
// anybody looks it has grown beyond what was taken. What came since is told and given, whether memory reaches back so far or not.
func TestRestoredStream_ThatHasGrownBeyondTheCursorIsRewound(t *testing.T) {
	for _, budget := range []int64{64 << 20, 1} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			w := newDisk(t)
			w.stream(ordinary())
			w.many(5, "s.before")
			w.keep("S")
			f := w.run(Config{Budget: NewBudget(budget)}).ready()
			rec, _ := f.follow()
			w.many(10, "s.lost")
			f.wait("the messages", func(s State) bool { return s.Cursor == 15 })

			w.putBack(f, "S", func() { w.many(30, "s.new") })
			f.wait("the messages", func(s State) bool { return s.Cursor == 35 })
			want := []string{}
			for seq := 6; seq <= 15; seq++ {
				want = append(want, fmt.Sprint(seq, " s.lost"))
			}
			want = append(want, "hole rewound certain=false 0-0 at 5")
			for seq := 6; seq <= 35; seq++ {
				want = append(want, fmt.Sprint(seq, " s.new"))
			}
			rec.waitFor(t, want...)
		})
	}
}

// Where a subject has one message, there may be nothing in the places of all that was taken last, and that says nothing.
func TestRestoredStream_WhoseLastMessagesWereReplacedSinceIsRewound(t *testing.T) {
	w := newDisk(t)
	cfg := ordinary()
	cfg.MaxMsgsPerSubject = 1
	w.stream(cfg)
	w.put("s.1", "s.2", "s.3", "s.4", "s.hot")
	w.keep("S")
	f := w.run(Config{}).ready()
	rec, _ := f.follow()
	want := []string{}
	for seq := 6; seq <= 20; seq++ {
		w.put("s.hot")
		want = append(want, fmt.Sprint(seq, " s.hot"))
		rec.waitFor(t, want...) // ahead of the next, which replaces it
	}
	time.Sleep(clocksApart) // nobody can tell apart what came sooner
	w.putBack(f, "S", func() { w.put("s.5"); w.many(20, "s.hot") })
	rec.waitFor(t, append(want, "hole rewound certain=false 0-0 at 4", "6 s.5", "26 s.hot")...) // there is no 5 any more
}

// Of a bucket that was put back a key may have an older value again, and nothing that is younger says so.
func TestRestoredBucket_WithAnOlderValueIsGivenAgain(t *testing.T) {
	w := newDisk(t)
	kv := w.bucket(jetstream.KeyValueConfig{})
	w.set(kv, "a", "hot")
	w.keep("KV_B")
	cfg := bucketFeed()
	cfg.VerifyEvery = time.Hour // a short outage
	f := w.run(cfg).ready()
	rec, _ := f.follow()
	w.set(kv, "a")
	for range 10 {
		w.set(kv, "hot")
	}
	f.waitRows("3 a, 13 hot at 13")
	given := len(rec.all())
	w.putBack(f, "KV_B", func() {
		for range 20 {
			w.set(kv, "hot")
		}
	})
	f.waitRows("1 a, 22 hot at 22")
	eventually(t, "the hole", func() bool { all := rec.all(); return len(all) > given && strings.HasPrefix(all[given], "hole") })
}

// Nothing is told when what was taken last has been removed since, and the stream is the same.
func TestSameStream_WhoseLastMessagesWereRemovedIsNotRewound(t *testing.T) {
	w := newWorld(t)
	w.stream(ordinary())
	f := w.run(Config{}).ready()
	rec, _ := f.follow()
	w.many(5, "s.a")
	f.wait("the messages", func(s State) bool { return s.Cursor == 5 })
	f.Disconnected()
	eventually(t, "the session to end", func() bool { return w.info("S").State.Consumers == 0 })
	w.deleteMessage(5)
	w.deleteMessage(4)
	w.put("s.b")
	f.Connected(f.nc)
	rec.waitFor(t, "1 s.a", "2 s.a", "3 s.a", "4 s.a", "5 s.a", "6 s.b")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
