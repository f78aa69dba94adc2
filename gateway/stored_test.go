package gateway_test

import (
	"net/http"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
)

func TestWhole_PublishSaysWhatBecameOfTheMessage(t *testing.T) {
	ns, err := devnats.Start(devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	w := startWholeOn(t, ns, nil)
	js, err := jetstream.New(w.pub)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "NOTES", Subjects: []string{"users.ada.>"}, MaxMsgs: 2,
		Discard: jetstream.DiscardNew}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"stream":"NOTES","seq":1}`, `{"stream":"NOTES","seq":2}`} {
		if resp := w.post("/v1/notify/ada", "x"); resp.StatusCode != http.StatusOK || resp.body != want+"\n" {
			t.Errorf("%d %q, want %s", resp.StatusCode, resp.body, want)
		}
	}
	resp := w.post("/v1/notify/ada", "x")
	resp.problem(t, http.StatusServiceUnavailable, "not-stored")
	if resp.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if resp := w.post("/v1/notify/bob", "x"); resp.StatusCode != http.StatusAccepted || resp.body != "" {
		t.Errorf("of what no stream stores: %d %q", resp.StatusCode, resp.body)
	}
}
