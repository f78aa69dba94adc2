package encode

import (
	"sync/atomic"

	"headgate/bridge/internal/kv"
)

// Item is a message that is kept: its place in its source, and its frames in the formats that were asked for so far.
type Item struct {
	Message
	Seq     uint64
	results atomic.Pointer[made]
}

// made is a node of an item's list of frames.
type made struct {
	Result
	format *Format
	next   *made
}

// Frame is the item's frame in a format, made when first asked for; fresh says whether it was made now. idPrefix is that of ID. Any
// goroutine may ask.
func (it *Item) Frame(f *Format, idPrefix string) (r *Result, fresh bool) {
	first := it.results.Load()
	for m := first; m != nil; m = m.next {
		if m.format == f {
			return &m.Result, false
		}
	}
	message := it.Message
	if key := kv.Key(message.Subject); key != "" {
		message.Key, message.Type, message.Gone = key, kv.Operation(message.Header), kv.Gone(message.Header)
	}
	if f.WantsID() {
		message.ID = ID(idPrefix, it.Seq)
	}
	m := &made{Result: f.Encode(&message), format: f}
	for {
		m.next = first
		if it.results.CompareAndSwap(first, m) {
			return &m.Result, true
		}
		first = it.results.Load()
	}
}
