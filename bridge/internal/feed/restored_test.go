package feed

import (
	"fmt"
	"os"
	"testing"

	"headgate/internal/devnats"
)

// A disk is put back to what it was, as servers before 2.15 also do with a backup: the stream has its time of creation, and before
// anybody looks it has grown beyond what was taken. What came since is told and given, whether memory reaches back so far or not.
func TestRestoredStream_ThatHasGrownBeyondTheCursorIsRewound(t *testing.T) {
	for _, budget := range []int64{64 << 20, 1} {
		t.Run(fmt.Sprint(budget), func(t *testing.T) {
			dir, backup := t.TempDir(), t.TempDir()
			s, err := devnats.Start(devnats.Options{JetStream: true, StoreDir: dir, Port: 0})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Shutdown)
			w := worldOn(t, s, s.URL())
			w.stream(ordinary())
			w.many(5, "s.before")
			s.Stop()
			must(t, os.CopyFS(backup, os.DirFS(dir)))
			must(t, s.Restart())
			eventually(t, "the publisher", func() bool { _, err := w.js.Stream(t.Context(), "S"); return err == nil })
			f := w.run(Config{Budget: NewBudget(budget)}).ready()
			rec, _ := f.follow()
			w.many(10, "s.lost")
			f.wait("the messages", func(s State) bool { return s.Cursor == 15 })

			f.Disconnected() // a feed that is late
			eventually(t, "the session to end", func() bool { return w.info("S").State.Consumers == 0 })
			s.Stop()
			must(t, os.RemoveAll(dir))
			must(t, os.CopyFS(dir, os.DirFS(backup)))
			must(t, s.Restart())
			eventually(t, "the publisher", func() bool { _, err := w.js.Stream(t.Context(), "S"); return err == nil })
			w.many(30, "s.new")
			f.Connected(f.nc)
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
