package deploy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	questionRow = regexp.MustCompile(`(?m)^\| ([^|]*\?) \| ([^|]*) \|$`)
	quoted      = regexp.MustCompile("`([a-z_]+)(?:=\"([^\"]*)\")?`")
)

// Every question of the runbook has metrics that a running headgate shows, and labels as the table says.
func TestMetrics_EveryQuestionHasAnAnswer(t *testing.T) {
	t.Parallel()
	text := read(t, "../../docs/operations.md")
	_, text, _ = strings.Cut(text, "### Which metric answers what")
	text, _, _ = strings.Cut(text, "\n## ")
	have := families(exposition(t))
	rows := questionRow.FindAllStringSubmatch(text, -1)
	if len(rows) < 15 {
		t.Fatalf("%d questions", len(rows))
	}
	answered := ""
	for _, row := range rows {
		var names []string
		for _, m := range quoted.FindAllStringSubmatch(row[2], -1) {
			name := m[1]
			switch {
			case strings.HasPrefix(name, "headgate_") || strings.HasPrefix(name, "process_"):
				names = append(names, name)
				if have[name] == nil {
					t.Errorf("%s: headgate has no metric %s", row[1], name)
				}
			case len(names) == 0 || !have[names[len(names)-1]][name]:
				t.Errorf("%s: %v has no label %s", row[1], names, name)
			}
		}
		if len(names) == 0 {
			t.Errorf("%s: no metric", row[1])
		}
		answered += row[1] + "\n"
	}
	for _, asked := range []string{"streams are open", "How many come", "turned away", "delivered", "one send", "last socket", "slowest", "missing", "memory", "read from NATS",
		"behind their streams", "Is NATS there", "keys read", "was a file refused"} {
		if !strings.Contains(answered, asked) {
			t.Errorf("nothing answers %q", asked)
		}
	}
}

// labels are those that there may be, each from a list that the configuration or headgate itself makes.
var labels = []string{"connection", "route", "outcome", "reason", "limit", "use", "result", "stream", "cause", "le", "kind",
	// of client_golang
	"version", "quantile"}

// Whatever clients send, it makes no series of its own.
func TestMetrics_NothingThatClientsSendIsALabel(t *testing.T) {
	t.Parallel()
	at := serve(t)
	const mark = "zqxjkv"
	n := 0
	send := func(method, path string, header map[string]string) {
		n++
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, "http://"+at.public+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, v := range header {
			req.Header.Set(name, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 10)
		_ = resp.Body.Close()
	}
	everything := func() {
		for _, path := range []string{"/v1/prices/%s", "/v1/orders?subject=%s", "/v1/orders?last-event-id=%s", "/v1/orders?since=%s", "/%s", "/v1/%s/x"} {
			one := fmt.Sprintf("%s%d", mark, n)
			path = fmt.Sprintf(path, url.PathEscape(one))
			for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", strings.ToUpper(mark)} {
				send(method, path, map[string]string{"User-Agent": one, "X-Forwarded-For": one, "Origin": "https://" + one + ".example", "X-Request-Id": one})
				send(method, path, map[string]string{"Authorization": "Bearer " + one, "Last-Event-ID": one, "Accept": one})
				send(method, path, map[string]string{"Cookie": "session=" + one, "Host": one})
			}
		}
	}
	shown := func() []string {
		_, text, err := get(t.Context(), "http://"+at.admin+"/metrics")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(text), mark) {
			t.Error("what a client has sent is in the metrics")
		}
		for name, f := range families(text) {
			for label := range f {
				if !slices.Contains(labels, label) {
					t.Errorf("%s has the label %s: say in this test why it is bounded", name, label)
				}
			}
		}
		return strings.Split(text, "\n")
	}
	everything()
	before := len(shown())
	for range 3 {
		everything()
	}
	if after := len(shown()); after != before {
		t.Errorf("%d lines, and after %d requests %d", before, n, after)
	}
}
