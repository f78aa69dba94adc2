//go:build !nodev

package devnats

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestStore_MakesStreamsAndBucketsAndWritesValues(t *testing.T) {
	s := start(t, Options{JetStream: true})
	st, err := s.Store()
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	ctx := t.Context()
	for range 2 { // what is there already is left as it is
		if err := st.Stream(ctx, "S", "s.>"); err != nil {
			t.Fatal(err)
		}
		if err := st.Bucket(ctx, "B"); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{st.Put(ctx, "B", "a", []byte("1")), st.Put(ctx, "B", "b", []byte("2")), st.Delete(ctx, "B", "a"), st.Delete(ctx, "B", "none")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	js, err := jetstream.New(connect(t, s.URL()))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(ctx, "B")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(ctx)
	if err != nil || len(keys) != 1 || keys[0] != "b" {
		t.Errorf("keys %q, %v", keys, err)
	}
	if _, err := js.Publish(ctx, "s.1", nil); err != nil {
		t.Errorf("the stream takes nothing: %v", err)
	}
	if err := st.Put(ctx, "none", "a", nil); err == nil {
		t.Error("a bucket that is not there takes a value")
	}
}
