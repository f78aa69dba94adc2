package feed

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/jsapi"
)

// erase takes out of memory what the stream does not have any more, because somebody deleted or purged it, or because it is too old.
// What is read from then on comes from the stream. What a limit by number or size has removed stays: nobody asked for it to be gone, and it
// spares a client a gap. It is asked for with every look at the stream; before is what the last one said.
func (f *Feed) erase(info jsapi.Info, before fingerprint) {
	if f.cfg.Table || !before.known {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	upto := f.tail.erasedBefore(info)
	if deletedOneByOne(info, before) {
		upto = f.Cursor // which ones would cost the leader a list of all that ever were
	}
	if upto <= f.tail.floor {
		return
	}
	n := f.tail.len()
	f.tail.raise(upto)
	f.account()
	f.Doubts++ // what history has of it is not given either
	f.log.Debug("messages were removed from the stream: memory forgets them", "upto", upto, "messages", n-f.tail.len())
}

// erasedBefore is up to which sequence nothing in the tail is to be given: what is no more at the stream's beginning, and is not there
// because of a limit by number or size alone.
func (t *tail) erasedBefore(info jsapi.Info) (upto uint64) {
	if info.FirstSeq <= 1 {
		return 0
	}
	if !pushedOut(info) {
		return info.FirstSeq - 1
	}
	if info.Config.MaxAge <= 0 {
		return 0
	}
	oldest := time.Now().Add(-info.Config.MaxAge).UnixNano()
	for place := t.head; place < t.next; place++ {
		it := t.at(place).it
		if it.Seq >= info.FirstSeq || it.At >= oldest {
			break
		}
		upto = it.Seq
	}
	return upto
}

// pushedOut says whether what the stream has lost at its beginning may have been pushed out by what came behind it, or taken by the
// consumers that it was for.
func pushedOut(info jsapi.Info) bool {
	c := info.Config
	return info.Messages > 0 && c.MaxMsgsPerSubject > 0 || c.Retention != jetstream.LimitsPolicy ||
		c.MaxMsgs > 0 && info.Messages >= uint64(c.MaxMsgs) ||
		c.MaxBytes > 0 && info.Bytes+2*info.Bytes/max(info.Messages, 1) >= uint64(c.MaxBytes)
}

// deletedOneByOne says whether messages in the middle of the stream were removed by somebody, and not by a limit for each subject or by a
// time to live of their own.
func deletedOneByOne(info jsapi.Info, before fingerprint) bool {
	c := info.Config
	return info.NumDeleted > before.deleted && c.MaxMsgsPerSubject <= 0 && !c.AllowMsgTTL && c.Retention == jetstream.LimitsPolicy
}
