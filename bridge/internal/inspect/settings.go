package inspect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/kv"
	"headgate/internal/subject"
)

// settings says what everybody who follows a stream should know of it.
func (i *inspector) settings(where string, c jetstream.StreamConfig) {
	note := func(l Level, text, remedy string) {
		i.report.add(Finding{Where: where, Level: l, Text: text, Remedy: remedy})
	}
	if c.Storage == jetstream.MemoryStorage && c.Replicas <= 1 {
		note(Note, "is in the memory of one server: when that restarts, everything is gone, and clients are told with a $gap (reset)",
			"file storage, or three replicas, where that matters")
	}
	if c.Retention == jetstream.InterestPolicy {
		note(Warning, "keeps messages only until its consumers have taken them, so clients that come back may find less than they missed",
			"let clients follow a stream with retention limits")
	}
	if n := c.MaxConsumers; n > 0 && n < 1+i.cfg.JetStream.HistoryParallel {
		note(Warning, fmt.Sprintf("max_consumers is %d; each replica of headgate makes one, and up to %d more while it reads what clients missed (JETSTREAM_HISTORY_PARALLEL)",
			n, i.cfg.JetStream.HistoryParallel), "raise max_consumers of the stream")
	}
}

// matches looks whether the stream can have what a route wants.
func (i *inspector) matches(u *usage, c jetstream.StreamConfig) {
	if of := kv.Mirrored(u.stream, c); u.bucket() && of != "" {
		i.report.add(Finding{Where: u.where(), Level: Error,
			Text:   "is a mirror of " + kv.Stream(of) + ", and has its messages under that one's subjects: clients are given an empty state",
			Remedy: "let the route have the bucket " + of + ", or a mirror that changes the subjects"})
		return
	}
	if c.Mirror != nil || len(c.Sources) > 0 || c.SubjectTransform != nil {
		i.report.add(Finding{Where: u.where(), Level: Note,
			Text: "has its messages from other streams, or under other subjects than they were published to: whether the route's subject matches cannot be told"})
		return
	}
	var never []string
	for _, p := range u.patterns {
		if !slices.ContainsFunc(c.Subjects, func(s string) bool { return subject.Intersects(s, p) }) {
			never = append(never, p)
		}
	}
	if len(never) == 0 {
		i.report.checked()
		return
	}
	f := Finding{Where: u.where(), Level: Error, Remedy: "correct the subject in the routes file, or add it to the stream"}
	f.Text = fmt.Sprintf("%s never matches: the stream has only %s", strings.Join(never, ", "), strings.Join(c.Subjects, ", "))
	if u.bucket() {
		f.Text, f.Remedy = "this stream is no bucket: it has only "+strings.Join(c.Subjects, ", "), "follow it as {type: stream}, or correct the bucket's name"
	}
	i.report.add(f)
}

// keeps compares what a stream keeps with what clients of a route that come back are promised.
func (i *inspector) keeps(u *usage, c jetstream.StreamConfig) {
	add := func(l Level, text, remedy string) {
		i.report.add(Finding{Where: u.where(), Level: l, Text: text, Remedy: remedy})
	}
	before := len(i.report.Findings)
	if u.route.Resume.Enabled {
		r := u.route.Resume.Replay
		if c.MaxAge > 0 && r.MaxAge > c.MaxAge {
			add(Warning, fmt.Sprintf("clients may come back within %s (resume.max_age), and the stream keeps %s (max_age): who comes later than that gets a $gap (expired)",
				short(r.MaxAge), short(c.MaxAge)), "keep messages longer, or lower resume.max_age")
		}
		if c.MaxMsgs > 0 && int64(r.MaxEvents) > c.MaxMsgs {
			add(Warning, fmt.Sprintf("clients may miss %d events (resume.max_events, JETSTREAM_REPLAY_EVENTS), and the stream keeps %d messages (max_msgs)",
				r.MaxEvents, c.MaxMsgs), "keep more messages, or lower the bound")
		}
		if c.MaxBytes > 0 && int64(r.MaxBytes) > c.MaxBytes {
			add(Warning, fmt.Sprintf("clients may miss %d bytes (JETSTREAM_REPLAY_BYTES), and the stream keeps %d (max_bytes)", int64(r.MaxBytes), c.MaxBytes),
				"keep more, or lower the bound")
		}
		if why := interior(c); why != "" {
			add(Note, why+": single messages may be gone from its middle, and no $gap tells of that", "")
		}
	}
	if s := u.route.Snapshot; s.Mode == "since" && c.MaxAge > 0 && s.Since > c.MaxAge {
		add(Warning, fmt.Sprintf("the snapshot goes back %s, and the stream keeps %s (max_age)", short(s.Since), short(c.MaxAge)), "keep messages longer, or lower snapshot.since")
	}
	if len(i.report.Findings) == before {
		i.report.checked()
	}
}

// short is a duration as an operator writes it.
func short(d time.Duration) string {
	text := d.String()
	for _, zero := range []struct{ tail, unit string }{{"m0s", "m"}, {"h0m", "h"}} {
		if rest, found := strings.CutSuffix(text, zero.tail); found {
			text = rest + zero.unit
		}
	}
	return text
}

// interior says why messages may be removed from the middle of a stream; "" = they are not, except by hand.
func interior(c jetstream.StreamConfig) string {
	switch {
	case c.MaxMsgsPerSubject > 0:
		return fmt.Sprintf("keeps the last %d messages of each subject (max_msgs_per_subject)", c.MaxMsgsPerSubject)
	case c.AllowRollup:
		return "allows rollups"
	case c.AllowMsgTTL:
		return "allows messages with a TTL of their own"
	}
	return ""
}

// bucket says what a bucket's clients will see.
func (i *inspector) bucket(where string, u *usage, c jetstream.StreamConfig) {
	add := func(text, remedy string) {
		i.report.add(Finding{Where: where, Level: Note, Text: text, Remedy: remedy})
	}
	marks := c.SubjectDeleteMarkerTTL > 0
	switch {
	case (c.MaxAge > 0 || c.AllowMsgTTL) && !marks:
		add("values expire, but the bucket leaves no markers (LimitMarkerTTL): no `expire` events; headgate notices within seconds and gives clients the whole state again",
			"nats kv edit "+u.source.Stream+" --marker-ttl 1m, with a server of version 2.11 or newer")
	case marks:
		add(fmt.Sprintf("values that expire become `expire` events (markers are kept for %s)", short(c.SubjectDeleteMarkerTTL)), "")
	}
	if c.MaxAge > 0 {
		add(fmt.Sprintf("values expire %s after they were put (TTL)", short(c.MaxAge)), "")
	}
	add(fmt.Sprintf("keeps the last %d values of each key (history)", c.MaxMsgsPerSubject), "")
}
