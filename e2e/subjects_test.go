package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"

	"headgate/e2e/internal/stack"
)

func TestNamedSubjects_AMessageThatSeveralMatchComesOnceAndInOrder(t *testing.T) {
	t.Parallel()
	g := start(t)
	s := open(t, g.URL+"/v1/feed?subject=feed.eu.%3E&subject=feed.*.1&subject=feed.eu.1&subject=feed.us.*")
	const messages = 200
	for i := range messages {
		g.publish(t, []string{"feed.eu.1", "feed.us.1", "feed.eu.2", "feed.asia.1"}[i%4], fmt.Sprint(i))
	}
	for i := range messages {
		if got := until(t, s, "message").Data(); got != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, got)
		}
	}
}

const formats = `
version: 1
routes:
  - name: both
    path: /both
    sources: [{name: orders, type: core, subject: "orders.>"}, {name: jobs, type: core, subject: "jobs.>"}]
    envelope: headgate
    headers: [Trace]
  - name: bytes
    path: /bytes
    source: {type: core, subject: raw}
    data: base64
  - name: documents
    path: /documents
    source: {type: core, subject: documents}
    data: json
`

func TestFormats_SeveralSourcesInAnEnvelope(t *testing.T) {
	t.Parallel()
	g := startWith(t, stack.Options{Routes: formats})
	s := open(t, g.URL+"/both")
	for source, subject := range map[string]string{"orders": "orders.eu", "jobs": "jobs.7"} {
		g.publish(t, subject, "line one\nline two", "Trace", "t-1", "Secret", "s-1")
		var e struct {
			Subject, Source, Time, ID string

			Headers map[string]any
			Data    string
		}
		b := until(t, s, "message")
		must(t, json.Unmarshal([]byte(b.Data()), &e))
		if e.Subject != subject || e.Source != source || e.Data != "line one\nline two" || e.Time == "" || e.Headers["Trace"] == nil || e.Headers["Secret"] != nil {
			t.Errorf("the envelope is %s", b.Data())
		}
	}
}

func TestFormats_BytesAndDocuments(t *testing.T) {
	t.Parallel()
	g := startWith(t, stack.Options{Routes: formats})
	raw := open(t, g.URL+"/bytes")
	payload := "\x00\xff\r\n\ufeff"
	g.publish(t, "raw", payload)
	if got := until(t, raw, "message").Data(); got != base64.StdEncoding.EncodeToString([]byte(payload)) {
		t.Errorf("the bytes came as %q", got)
	}
	documents := open(t, g.URL+"/documents")
	g.publish(t, "documents", "{broken")
	g.publish(t, "documents", `{"fine": true}`)
	if b := until(t, documents, "$gap", "message"); b.Event() != "$gap" {
		t.Errorf("a broken document came as %s", b)
	}
	if b := until(t, documents, "message"); b.Data() != `{"fine": true}` {
		t.Errorf("the document came as %s", b)
	}
}
