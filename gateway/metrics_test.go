package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"headgate/gateway"
	"headgate/internal/delivery"
	"headgate/ratelimit"
)

// metric is the value of the series with these labels, -1 when there is none.
func (r *rig) metric(name string, labels ...string) float64 {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			if hasLabels(m, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return -1
}

func hasLabels(m *dto.Metric, labels []string) bool {
	found := 0
	for i := 0; i+1 < len(labels); i += 2 {
		for _, l := range m.Label {
			if l.GetName() == labels[i] && l.GetValue() == labels[i+1] {
				found++
			}
		}
	}
	return found == len(labels)/2
}

func TestMetrics_EveryReasonIsThereFromTheStart(t *testing.T) {
	r := start(t)
	for _, reason := range delivery.Reasons() {
		if got := r.metric("headgate_stream_ends_total", "reason", reason.String()); got != 0 {
			t.Errorf("%s: %v", reason, got)
		}
	}
	if got := r.metric("headgate_streams", "route", "prices"); got != 0 {
		t.Errorf("streams %v", got)
	}
	if problems, err := testutil.GatherAndLint(r.reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestMetrics_CountStreamsAndTheirEnds(t *testing.T) {
	r := start(t)
	rd := r.open("/v1/prices/A")
	rd.want("$ready")
	if got := r.metric("headgate_streams", "route", "prices"); got != 1 {
		t.Errorf("streams %v", got)
	}
	rd.stop()
	eventually(t, "the end", func() bool { return r.metric("headgate_stream_ends_total", "reason", "client-gone") == 1 })
	if got := r.metric("headgate_streams", "route", "prices"); got != 0 {
		t.Errorf("streams %v", got)
	}
	if got := r.metric("headgate_requests_total", "route", "prices", "outcome", "opened"); got != 1 {
		t.Errorf("opened %v", got)
	}
	if r.metric("headgate_connect_seconds") != 1 || r.metric("headgate_stream_seconds") != 1 {
		t.Error("the histograms have not seen the stream")
	}
}

func TestMetrics_CountEveryOutcomeOnce(t *testing.T) {
	r := start(t)
	r.get("/nothing")
	r.get("/v1/prices/a.b")
	r.do(r.request("PUT", "/v1/prices/a"))
	r.do(r.request(http.MethodHead, "/v1/prices/a"))
	r.do(r.request(http.MethodOptions, "/v1/prices/a"))
	r.post("/v1/notify/a", "x")
	r.limiter.refuse = &ratelimit.Refusal{Cause: ratelimit.Rate, Limit: ratelimit.ConnectRate}
	r.get("/v1/prices/a", "Accept", "text/event-stream")
	for _, c := range [][2]string{{"(none)", "not-found"}, {"prices", "parameter-invalid"}, {"prices", "method-not-allowed"}, {"prices", "head"},
		{"prices", "options"}, {"notify", "published"}, {"prices", "rate-address"}} {
		if got := r.metric("headgate_requests_total", "route", c[0], "outcome", c[1]); got != 1 {
			t.Errorf("%v: %v", c, got)
		}
	}
}

func TestProblems_AreAllDifferentAndComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range gateway.Problems() {
		if p.Slug == "" || p.Title == "" || p.Remedy == "" || p.Status < 400 || seen[p.Slug] {
			t.Errorf("%+v", p)
		}
		seen[p.Slug] = true
		if over := p.Status == 429 || p.Status == 503; over != (p.Cause != "") {
			t.Errorf("%s: status %d with the cause %q", p.Slug, p.Status, p.Cause)
		}
	}
}

func TestEndlog_WritesOneLineEachUntilThousandsEndAtOnce(t *testing.T) {
	r := start(t)
	r.server.PutEndings(3, delivery.Lifetime)
	eventually(t, "three lines", func() bool { return strings.Count(r.logs.String(), "reason=lifetime") == 3 })
	r.server.PutEndings(20_000, delivery.Draining)
	eventually(t, "the sum", func() bool { return strings.Contains(r.logs.String(), "not logged one by one") })
	r.drain()
	<-r.done
	text := r.logs.String()
	if n := strings.Count(text, "reason=draining"); n < 100 || n > 1000 {
		t.Errorf("%d lines for 20000 streams", n)
	}
	if total := sumOf(text, "reasons.draining="); total+strings.Count(text, "reason=draining") != 20_000 {
		t.Errorf("%d summed up, %d written", total, strings.Count(text, "reason=draining"))
	}
}

// sumOf adds the numbers behind a key in a log.
func sumOf(text, key string) int {
	total := 0
	for _, rest := range strings.Split(text, key)[1:] {
		n := 0
		for _, c := range rest {
			if c < '0' || c > '9' {
				break
			}
			n = n*10 + int(c-'0')
		}
		total += n
	}
	return total
}
