package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
	"headgate/bridge/internal/pull"
)

const (
	inactive    = 30 * time.Second // nats-server removes a consumer that nobody has pulled from for so long
	answerWait  = 2 * time.Second  // for the leader, or the consumer's creation
	goodbyeWait = time.Second      // for the deletion of the consumer when the process ends
	longSession = 3 * time.Second  // a session that lasted so long was not in vain
	resetWait   = 2 * time.Second  // the longest pause between sessions
	missingWait = time.Second      // about, between two looks for a stream that is missing
)

// A session asks for pullBatch messages at a time, so at most twice that are on their way; and for so many bytes. The channel has room for
// status messages beside them.
var (
	pullBatch   = 4096
	channelSize = 2*pullBatch + 1024
)

const (
	pullBytes   = 8 << 20
	pullExpires = 30 * time.Second
	pokeEvery   = 20 * time.Millisecond // a load waits so long for its next message before it asks once more
)

// endings are what the ends of a consumer mean for its session.
var endings = [...]reset{pull.GoesOn: goesOn, pull.Deleted: resetDeleted, pull.Moved: resetLeader, pull.Rejected: resetUnanswered}

// session is one consumer, from its creation to the first thing that goes wrong with it. Whatever that is, the next session begins
// behind the cursor, so nothing is lost by ending one.
type session struct {
	nc       *nats.Conn
	number   uint64 // of the connection
	consumer string
	sub      *nats.Subscription
	ch       chan *nats.Msg
	came     uint64    // messages of the subscription, until now
	known    uint64    // up to that one, it was on its way when the leader was last asked about jumps
	taken    uint64    // the consumer's sequence of the last message
	heard    time.Time // when there was last any sign of the consumer
	pull     *pull.Puller
}

// serve runs one session, and says why it ended.
func (f *Feed) serve(ctx context.Context, nc *nats.Conn, number uint64) reset {
	s := &session{nc: nc, number: number}
	f.countOver = false
	if why := f.begin(ctx, s); why != goesOn {
		f.leave(ctx, s)
		return why
	}
	why := f.follow(ctx, s)
	f.leave(ctx, s)
	return why
}

// begin finds out what became of the stream since the last session, and makes the consumer.
func (f *Feed) begin(ctx context.Context, s *session) reset {
	_ = f.refused() // of the last session
	info, err := f.info(ctx, s)
	if err != nil {
		return f.failed(ctx, s.nc, err)
	}
	if why := f.compare(ctx, s, info); why != goesOn {
		return why
	}
	if err := f.subscribe(ctx, s, info); err != nil {
		return f.failed(ctx, s.nc, err)
	}
	if !errors.Is(f.Missing, errDenied) { // else when the consumer has been heard: that it may be asked is not known yet
		f.found()
	}
	f.aim(ctx, s, info.LastSeq)
	f.verified = time.Now()
	before := f.print
	f.print = printOf(info)
	f.stale = f.stale || before != f.print
	f.erase(info, before)
	if before.last != 0 && f.load == nil && f.table == nil && f.keys == nil && f.vanished(info, before) {
		return f.recheck(info.NumSubjects) // nothing else is left to compare with
	}
	return goesOn
}

func (f *Feed) info(ctx context.Context, s *session) (jsapi.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	return f.cfg.API.Info(ctx, s.nc, f.cfg.Stream)
}

// subscribe makes the consumer behind the cursor, or that of a table, and the first pull.
func (f *Feed) subscribe(ctx context.Context, s *session, info jsapi.Info) error {
	s.consumer = f.cfg.ConsumerPrefix + "-" + rand.Text()[:12]
	inbox := s.nc.NewInbox()
	if f.cfg.Inbox != "" {
		inbox = strings.TrimSuffix(f.cfg.Inbox, ".") + "." + rand.Text()
	}
	s.ch = make(chan *nats.Msg, channelSize)
	var err error
	if s.sub, err = s.nc.ChanSubscribe(inbox, s.ch); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	made, err := f.cfg.API.CreateConsumer(ctx, s.nc, f.cfg.Stream, f.consumerConfig(s.consumer, info))
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	s.pull = pull.New(pull.Config{Subject: f.cfg.API.Subject("CONSUMER.MSG.NEXT", f.cfg.Stream, s.consumer), Reply: inbox, Batch: pullBatch,
		Bytes: pullBytes, Expires: pullExpires, Heartbeat: f.cfg.Heartbeat, Ahead: true}, made.Config)
	s.heard = time.Now()
	return s.pull.Fill(s.nc)
}

func (f *Feed) consumerConfig(name string, info jsapi.Info) jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{Name: name, AckPolicy: jetstream.AckNonePolicy, Replicas: 1, MemoryStorage: true,
		InactiveThreshold: inactive, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: f.Cursor + 1}
	if most := info.Config.ConsumerLimits.InactiveThreshold; most > 0 {
		c.InactiveThreshold = min(c.InactiveThreshold, most)
	}
	filters := f.server
	if f.load != nil {
		c.DeliverPolicy, c.OptStartSeq, c.HeadersOnly = jetstream.DeliverLastPerSubjectPolicy, 0, f.load.keys != nil
		if filters == nil {
			filters = everything // this policy needs one
		}
	}
	if len(filters) == 1 {
		c.FilterSubject = filters[0]
	} else {
		c.FilterSubjects = filters
	}
	return c
}

// leave ends what a session has at NATS. While the process goes on nobody waits for the consumer's deletion: where NATS does not
// answer it ends by itself.
func (f *Feed) leave(ctx context.Context, s *session) {
	f.load = nil
	f.mu.Lock()
	f.loads, f.keysHeld = 0, f.keys.size()
	f.account()
	f.mu.Unlock()
	if s.sub != nil {
		_ = s.sub.Unsubscribe() // it fails when the connection is closed, and then there is none
	}
	if s.consumer == "" || !s.nc.IsConnected() {
		return
	}
	if ctx.Err() == nil {
		_ = s.nc.Publish(f.cfg.API.Subject("CONSUMER.DELETE", f.cfg.Stream, s.consumer), nil)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeWait)
	defer cancel()
	if err := f.cfg.API.DeleteConsumer(ctx, s.nc, f.cfg.Stream, s.consumer); err != nil {
		f.log.Debug("the consumer could not be deleted; NATS removes it when it has been idle", "cause", err, "after", inactive)
	}
}

// pause waits between two sessions: not at all behind one that has lasted, longer the more often it was in vain.
func (f *Feed) pause(ctx context.Context, why reset, lasted time.Duration) {
	f.short++
	if lasted > longSession {
		f.short = 0
	}
	var d time.Duration
	switch {
	case why == resetMissing:
		d = missingWait*3/4 + mrand.N(missingWait/2)
	case why == resetConnection || why == resetTable || why == resetFilters:
	case f.short > 0:
		d = min(resetWait, 25*time.Millisecond<<min(f.short, 7))
		d = d/2 + mrand.N(d/2)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-f.wake:
			return // another connection, or somebody who waits: the reason to pause is perhaps gone
		}
	}
}
