package feed

import (
	"strconv"
	"strings"
)

// place is where a message stands. It is read from the reply subject, as Msg.Metadata of nats.go does, which allocates twice for each
// message.
//
// Source: ADR-15 of https://github.com/nats-io/nats-architecture-and-design, the tokens of a JetStream reply subject.
type place struct {
	stream, consumer uint64 // sequences
	at               int64  // Unix time in nanoseconds
	pending          uint64
}

// placeOf is not ok for a message that is not one of a consumer.
func placeOf(reply string) (p place, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return place{}, false
	}
	skip := 3 // stream, consumer, number of deliveries
	switch n := strings.Count(rest, ".") + 1; {
	case n == 7:
	case n >= 9:
		skip = 5 // domain and account before them
	default:
		return place{}, false
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var f [4]uint64
	for i := range f {
		var text string
		text, rest, _ = strings.Cut(rest, ".")
		var err error
		if f[i], err = strconv.ParseUint(text, 10, 63); err != nil {
			return place{}, false
		}
	}
	return place{stream: f[0], consumer: f[1], at: int64(f[2]), pending: f[3]}, true
}
