package bridge

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

const someTrace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

var asEvents = flow.Format{Data: "text", Envelope: "cloudevents", Source: "urn:s", Token: -1}

// The three ways in which a publisher sends: no event, one in headers, one as the payload; and one that is none, although it says so.
func publishEvents(t *testing.T, nc *nats.Conn, subject string) {
	t.Helper()
	for _, m := range []*nats.Msg{
		{Data: []byte("plain"), Header: nats.Header{"traceparent": {someTrace}}},
		{Data: []byte("in headers"), Header: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"7"}, "ce-source": {"/shop"}, "ce-type": {"made"}}},
		{Data: []byte(`{"specversion":"1.0","id":"8","source":"/shop","type":"made"}`), Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}},
		{Data: []byte("none"), Header: nats.Header{"Content-Type": {"application/cloudevents+json"}, "traceparent": {someTrace}}},
	} {
		m.Subject = subject
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}

func checkEvents(t *testing.T, got []string, subject string) {
	t.Helper()
	for i, parts := range [][]string{
		{`{"specversion":"1.0","id":"1~`, `","source":"urn:s","type":"message","subject":"` + subject + `","time":"20`, `"datacontenttype":"text/plain","sequence":"0`,
			`"traceparent":"` + someTrace + `","data":"plain"}`},
		{`{"specversion":"1.0","id":"7","source":"/shop","type":"made","datacontenttype":"text/plain","data":"in headers"}`},
		{`{"specversion":"1.0","id":"8","source":"/shop","type":"made"}`},
		{"$gap invalid true s"},
	} {
		for _, part := range parts {
			if !strings.Contains(got[i], part) {
				t.Errorf("no %s in %s", part, got[i])
			}
		}
	}
}

func TestCloudEvents_OfCoreSubjectsAndOfAStream(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	nc := publisherOf(t, ns.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	r := streamBridge(t, ns.URL())
	for subject, spec := range map[string]flow.Spec{
		"a":   {Name: "s", Subjects: []string{"a"}}, // no ring: the stream carries no ids, its events do
		"s.1": {Name: "s", Kind: flow.Stream, Stream: "S", Subjects: []string{"s.*"}},
	} {
		sink, _, _ := r.follow(flow.Request{Sources: []flow.Spec{spec}, Format: asEvents})
		publishEvents(t, nc, subject)
		eventually(t, "four events", func() bool { return len(sink.texts()) == 4 })
		checkEvents(t, sink.texts(), subject)
	}
	for _, line := range []string{`msg="message relayed" connection=data-0 subject=a traceparent=` + someTrace, `msg="message relayed" subject=s.1 traceparent=` + someTrace,
		`a CloudEvent that is none" connection=data-0 count=1 subject=a traceparent=` + someTrace, `a CloudEvent that is none" count=1 subject=s.1 traceparent=` + someTrace} {
		if !strings.Contains(r.log.String(), line) {
			t.Errorf("the log has no %s:\n%s", line, r.log)
		}
	}
}
