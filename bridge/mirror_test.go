package bridge

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/devnats"
)

// A bucket that is the mirror of one with another name looks empty for ever. That is said when it is seen, once, and not only by a check that
// somebody has to run.
func TestBucket_ThatMirrorsAnotherNameIsWarnedOfOnce(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	js, err := jetstream.New(publisherOf(t, ns.URL()))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []jetstream.KeyValueConfig{{Bucket: "FLAGS"}, {Bucket: "COPY", Mirror: &jetstream.StreamSource{Name: "KV_FLAGS"}},
		{Bucket: "RENAMED", Mirror: &jetstream.StreamSource{Name: "KV_FLAGS",
			SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: "$KV.FLAGS.>", Destination: "$KV.RENAMED.>"}}}}} {
		if _, err := js.CreateKeyValue(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	const warning = "is a mirror of another one"
	for bucket, want := range map[string]int{"FLAGS": 0, "COPY": 1, "RENAMED": 0} {
		r := bridgeOf(t, ns.URL(), 8<<20, config.Source{Name: "s", Type: "kv", Stream: bucket, Subject: ">"})
		sessions := r.metric("headgate_feed_resets_total")
		deleteConsumers(t, js, "KV_"+bucket) // the feed begins again, and says nothing new
		eventually(t, "another session", func() bool { return r.metric("headgate_feed_resets_total") > sessions })
		eventually(t, "the bucket to be read again", func() bool { ok, _ := r.Prefilled(); return ok })
		log := r.log.String()
		if got := strings.Count(log, warning); got != want {
			t.Errorf("%s: %d warnings, want %d", bucket, got, want)
		}
		if want > 0 && (!strings.Contains(log, "let the route have the bucket FLAGS") || !strings.Contains(log, "mirror_of=KV_FLAGS")) {
			t.Error("the warning does not say what to do")
		}
		r.stop()
	}
}

// deleteConsumers deletes the consumers of a stream.
func deleteConsumers(t *testing.T, js jetstream.JetStream, stream string) {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	for c := range s.ListConsumers(t.Context()).Info() {
		if err := s.DeleteConsumer(t.Context(), c.Name); err != nil {
			t.Fatal(err)
		}
	}
}
