package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/cursor"
	"headgate/internal/flow"
)

// Incarnation is one life of a stream, as far as its sequences mean the same. It is immutable.
type Incarnation struct {
	Tag      cursor.Tag // of positions that are given now: Certain, or Doubted
	Certain  cursor.Tag // the same on every replica
	Doubted  cursor.Tag // see proof.go
	IDPrefix string     // of encode.ID; that of Certain, since it names a message and no position
	Created  time.Time
	Direct   bool // allow_direct
	Config   jetstream.StreamConfig

	epoch uint64
}

// Same says whether sequences of the two mean the same messages. The tag alone does not say that: a stream that was restored from a
// backup keeps it.
func (i *Incarnation) Same(o *Incarnation) bool { return i != nil && o != nil && i.epoch == o.epoch }

// Epoch tells the lives of a stream apart that Same does.
func (i *Incarnation) Epoch() uint64 { return i.epoch }

// Has says whether a tag is one of its tags.
func (i *Incarnation) Has(tag cursor.Tag) bool { return tag == i.Certain || tag == i.Doubted }

// Seq is a position's sequence in the incarnation, and whether it has one; certain says whether it was given as one that any replica may
// take up.
func (i *Incarnation) Seq(p cursor.Position) (seq uint64, certain, known bool) {
	if seq, known = p.Seq(i.Certain); known {
		return seq, true, true
	}
	seq, known = p.Seq(i.Doubted)
	return seq, false, known
}

func incarnation(stream string, info jsapi.Info, epoch uint64) *Incarnation {
	created := strconv.FormatInt(info.Created.UnixNano(), 10)
	tag := cursor.SourceTag(stream, created)
	text := (cursor.Position{{Tag: tag}}).String()
	return &Incarnation{Tag: tag, Certain: tag, Doubted: cursor.SourceTag(stream, created+" doubted"),
		IDPrefix: text[:len(text)-1], Created: info.Created, // without the 0
		Direct: info.Config.AllowDirect, Config: info.Config, epoch: epoch}
}

// State is what a feed is like.
type State struct {
	Ready   bool  // caught up once with this incarnation, and not missing
	Missing error // the stream does not exist, JetStream does not answer, or we may not read it; nil = none of these is known
	Inc     *Incarnation
	Cursor  uint64 // every match up to here has been taken
	Floor   uint64 // every match in (Floor, Cursor] is in the tail
	Doubt   uint64 // of a table: who is at a position up to here may have values that were removed without a message; see doubt.go
	Doubts  uint64 // how often that was found
	First   uint64 // of the stream, when its leader was last asked
	Last    uint64
	Average uint64 // bytes of a message then
	Err     string // what last went wrong; "" = nothing since
}

// status is State while it changes; guarded by the mu of its Feed.
type status struct {
	State
	caughtUp bool
	looked   time.Time // when it was last found that the stream does not exist
	doubts   time.Time // until the leader has been asked behind that, every position is in doubt; zero = since then Doubt is where that ended
}

// lookAgain is how old the answer may be that a stream does not exist. Whoever has just made it must not be sent away.
const lookAgain = 100 * time.Millisecond

// State is what it is now.
func (f *Feed) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status.State
	s.Ready = f.ready()
	s.Floor = f.tail.floor
	s.Doubt = f.doubted()
	return s
}

// ready needs mu.
func (f *Feed) ready() bool { return f.caughtUp && f.Missing == nil && !f.ended }

// Wait returns nil when the feed is ready, an error that wraps flow.ErrMissing when the stream is known to be missing,
// flow.ErrClosed after Run, or the error of ctx. A stream that did not exist a moment ago is looked for once more.
func (f *Feed) Wait(ctx context.Context) error {
	began := time.Now()
	for {
		f.mu.Lock()
		ready, missing, ended, changed := f.ready(), f.Missing, f.ended, f.changed
		stale := errors.Is(missing, jsapi.ErrNoStream) && f.nc != nil && f.looked.Before(began.Add(-lookAgain))
		f.mu.Unlock()
		switch {
		case ended:
			return flow.ErrClosed
		case ready:
			return nil
		case stale:
			f.ring()
		case missing != nil:
			return f.missingError(missing)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (f *Feed) missingError(cause error) error {
	return fmt.Errorf("%w: %s: %w", flow.ErrMissing, f.cfg.Stream, cause)
}

// tell wakes those who wait for another state. It needs mu.
func (f *Feed) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// progress is what has been pushed. The loop lowers seq before it changes inc, so that no seq is taken for one of another
// incarnation.
type progress struct {
	inc atomic.Pointer[Incarnation]
	seq atomic.Uint64
}

func (p *progress) load() (*Incarnation, uint64) {
	for {
		inc := p.inc.Load()
		seq := p.seq.Load()
		if p.inc.Load() == inc {
			return inc, seq
		}
	}
}

// begin is called before a hole is told, raise with its position after it has been told.
func (p *progress) begin(inc *Incarnation) {
	p.seq.Store(0)
	p.inc.Store(inc)
}

func (p *progress) raise(seq uint64) { p.seq.Store(seq) }

// Pushed says up to where everything has been pushed to the followers. It advances also where nothing matched; for a feed with filters,
// or where messages were removed, once in VerifyEvery.
func (f *Feed) Pushed() (*Incarnation, uint64) { return f.progress.load() }
