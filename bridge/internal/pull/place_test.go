package pull

import (
	"testing"

	"github.com/nats-io/nats.go"
)

func TestPlaceOf_SaysWhatMetadataSays(t *testing.T) {
	for _, reply := range []string{
		"$JS.ACK.S.c.1.17.3.1764148800000000000.5",
		"$JS.ACK._.ACC.S.c.1.17.3.1764148800000000000.5",
		"$JS.ACK.hub.ACC.S.c.1.17.3.1764148800000000000.5.rnd",
		"$JS.ACK.S.c.1.17.3.1764148800000000000.5.6",
		"$JS.ACK.S.c.1.17.3",
		"$JS.ACK.",
		"_INBOX.x",
		"",
	} {
		m := nats.Msg{Reply: reply, Sub: &nats.Subscription{}}
		want, err := m.Metadata()
		got, ok := PlaceOf(reply)
		if ok != (err == nil) {
			t.Errorf("%q: ok %v, Metadata says %v", reply, ok, err)
			continue
		}
		if ok && (got.Stream != want.Sequence.Stream || got.Consumer != want.Sequence.Consumer || got.At != want.Timestamp.UnixNano() ||
			got.Pending != want.NumPending) {
			t.Errorf("%q: %+v, want %+v", reply, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { PlaceOf("$JS.ACK._.ACC.S.c.1.17.3.1764148800000000000.5") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
