package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// routesOfEveryKind make every metric appear: core subjects, a stream, a bucket, tokens.
const routesOfEveryKind = `
version: 1
routes:
  - {name: prices, path: "/v1/prices/{symbol}", source: {type: core, subject: "prices.{symbol}"}, auth: {required: false}}
  - {name: orders, path: /v1/orders, source: {type: stream, stream: ORDERS, subject: "orders.>"}, auth: {required: false}}
  - {name: flags, path: /v1/flags, source: {type: kv, bucket: FLAGS}, auth: {required: false}}
`

// start runs a program until the test ends.
func start(t *testing.T, path string, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = env
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s, the end of its log:\n%s", filepath.Base(path), text[max(0, len(text)-2000):])
		}
		_ = log.Close()
	})
}

// freeAddr is an address of loopback whose port nobody has, on any address. It is below the ports that the system gives to outgoing
// connections, one of which could take it before the program does that it is for.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(12000 + rand.IntN(20000))
		if ln, err := net.Listen("tcp", ":"+port); err == nil {
			_ = ln.Close()
			return "127.0.0.1:" + port
		}
	}
	t.Fatal("no free port")
	return ""
}

func get(ctx context.Context, url string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// addrs are those of a headgate.
type addrs struct{ public, admin string }

// serve starts NATS and a headgate with routes of every kind, and waits until it is ready.
func serve(t *testing.T) addrs {
	t.Helper()
	natsAddr, at, dir := freeAddr(t), addrs{freeAddr(t), freeAddr(t)}, t.TempDir()
	_, natsPort, _ := net.SplitHostPort(natsAddr)
	start(t, built(t, bin.nats), nil, "-a", "127.0.0.1", "-p", natsPort, "-js", "-sd", filepath.Join(dir, "js"))
	for file, text := range map[string][]byte{"routes.yaml": []byte(routesOfEveryKind), "keys.pem": pair().public} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	start(t, built(t, bin.headgate), []string{"HTTP_ADDR=" + at.public, "ADMIN_ADDR=" + at.admin, "NATS_URL=nats://" + natsAddr, "AUTH_MODE=jwt",
		"AUTH_ISSUER=https://issuer.example", "AUTH_AUDIENCE=headgate", "AUTH_KEY_FILE=" + filepath.Join(dir, "keys.pem"),
		"ROUTES_FILE=" + filepath.Join(dir, "routes.yaml"), "JETSTREAM_PREFILL_TIMEOUT=1s", "GOMEMLIMIT=536870912",
		"AUTH_REVOCATION_BUCKET=REVOKED", "AUTH_REVOCATION_TTL=1h"})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if status, _, err := get(ctx, "http://"+at.admin+"/readyz"); err == nil && status == http.StatusOK {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("headgate does not become ready")
		}
	}
	return at
}

// exposition is /metrics of a headgate that has a client.
func exposition(t *testing.T) string {
	t.Helper()
	at := serve(t)
	stream, err := http.Get("http://" + at.public + "/v1/prices/ACME")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if _, err := io.ReadFull(stream.Body, make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	_, text, err := get(t.Context(), "http://"+at.admin+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// family is a metric with the labels that its series have.
type family map[string]bool

var seriesLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? `)

func families(text string) map[string]family {
	out := map[string]family{}
	for line := range strings.Lines(text) {
		m := seriesLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if out[m[1]] == nil {
			out[m[1]] = family{}
		}
		for _, label := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(m[2], -1) {
			out[m[1]][label[1]] = true
		}
	}
	return out
}

// byScraping are the labels that Prometheus adds, not headgate.
var byScraping = []string{"namespace", "pod", "instance", "job", "cluster"}

var (
	metricName = regexp.MustCompile(`\b(?:headgate|process|go)_[a-z0-9_]+\b`)
	grouping   = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)
	selector   = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
)

// checkQuery wants every metric and every label of a query to exist.
func checkQuery(t *testing.T, where, query string, have map[string]family) {
	t.Helper()
	for _, fault := range faults(query, have) {
		t.Errorf("%s: %s", where, fault)
	}
}

// faults are the metrics and labels of a query that do not exist.
func faults(query string, have map[string]family) []string {
	var labels, found []string
	names := metricName.FindAllString(query, -1)
	if len(names) == 0 {
		found = append(found, "no metric in "+query)
	}
	for _, name := range names {
		f, ok := have[name]
		if !ok {
			found = append(found, "headgate has no metric "+name)
		}
		for label := range f {
			labels = append(labels, label)
		}
	}
	var used []string
	for _, g := range grouping.FindAllStringSubmatch(query, -1) {
		used = append(used, strings.Split(g[1], ",")...)
	}
	for _, s := range selector.FindAllStringSubmatch(query, -1) {
		used = append(used, s[1])
	}
	for _, label := range used {
		label = strings.TrimSpace(label)
		if !slices.Contains(labels, label) && !slices.Contains(byScraping, label) {
			found = append(found, fmt.Sprintf("none of %v has the label %s", names, label))
		}
	}
	return found
}

type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(read(t, chart+"/rules/alerts.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 15 {
		t.Fatalf("%d alerts", len(all))
	}
	return all
}

func TestMetrics_AlertsAndDashboardAskForWhatARunningHeadgateShows(t *testing.T) {
	t.Parallel()
	text := exposition(t)
	have := families(text)
	for _, a := range alerts(t) {
		checkQuery(t, a.Alert, a.Expr, have)
	}
	for _, wrong := range []string{"sum(headgate_streams_open)", "sum by (path) (headgate_streams)", `headgate_requests_total{reason="x"}`, "1"} {
		if len(faults(wrong, have)) != 1 {
			t.Errorf("what is wrong with %s is not found: %v", wrong, faults(wrong, have))
		}
	}
	queries := dashboardQueries(t)
	if len(queries) < 30 {
		t.Errorf("only %d queries in the dashboard", len(queries))
	}
	for _, q := range queries {
		checkQuery(t, "dashboard, "+q.title, q.expr, have)
	}
	t.Run("promtool reads them", func(t *testing.T) {
		// Every query of the dashboard as a recording rule, so that Prometheus' own parser reads it.
		var rules strings.Builder
		rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
		for n, q := range queries {
			fmt.Fprintf(&rules, "  - record: dashboard:q%d\n    expr: %q\n", n, strings.ReplaceAll(q.expr, "$__rate_interval", "5m"))
		}
		file := filepath.Join(t.TempDir(), "rules.yaml")
		if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		if out := promtool(t, "check", "rules", file); !strings.Contains(out, fmt.Sprintf("%d rules found", len(queries))) {
			t.Errorf("%d queries: %s", len(queries), out)
		}
		promtoolMetrics(t, text)
	})
}

type query struct{ title, expr string }

// dashboardQueries are those of all panels.
func dashboardQueries(t *testing.T) []query {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, chart+"/dashboards/headgate.json")), &board); err != nil {
		t.Fatal(err)
	}
	var all []query
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, query{p.Title, target.Expr})
		}
	}
	return all
}

// promtoolMetrics lets promtool judge names and help texts of what is exposed.
func promtoolMetrics(t *testing.T, text string) {
	t.Helper()
	var ours strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, "headgate_") {
			ours.WriteString(line)
		}
	}
	run(t, []byte(ours.String()), "promtool", "check", "metrics")
}

func TestAlerts_EachHasUnitTestsForFiringAndForSilence(t *testing.T) {
	var tests struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "rules/alerts_test.yaml")), &tests); err != nil {
		t.Fatal(err)
	}
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, a := range test.AlertRuleTest {
			fires[a.Alertname] = fires[a.Alertname] || len(a.ExpAlerts) > 0
			silent[a.Alertname] = silent[a.Alertname] || len(a.ExpAlerts) == 0
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !silent[a.Alert] {
			t.Errorf("%s: fires in a test: %v, is silent in one: %v", a.Alert, fires[a.Alert], silent[a.Alert])
		}
	}
	promtool(t, "check", "rules", chart+"/rules/alerts.yaml")
	if out := promtool(t, "test", "rules", "rules/alerts_test.yaml"); !strings.Contains(out, "SUCCESS") {
		t.Error(out)
	}
}

// What the chart puts into a PrometheusRule is the same file, without what was left out and with links to the runbook.
func TestAlerts_TheChartShipsThem(t *testing.T) {
	r := find(t, render(t, "-f", chart+"/ci/gateway-values.yaml"), "PrometheusRule", "")
	var names []string
	for _, rule := range dig(r, "spec", "groups", 0, "rules").([]any) {
		name := dig(rule, "alert").(string)
		names = append(names, name)
		if link := dig(rule, "annotations", "runbook_url"); link != "https://docs.example/operations.md#"+strings.ToLower(name) {
			t.Errorf("%s: runbook_url %v", name, link)
		}
	}
	if len(names) != len(alerts(t))-1 || slices.Contains(names, "HeadgateUnevenStreams") {
		t.Errorf("%v", names)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	text, err := yaml.Marshal(r["spec"])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

func TestDashboard_TheChartShipsItAsItIs(t *testing.T) {
	c := find(t, render(t, "-f", chart+"/ci/gateway-values.yaml"), "ConfigMap", "-dashboard")
	if got := dig(c, "data", "headgate.json").(string); strings.TrimSpace(got) != strings.TrimSpace(read(t, chart+"/dashboards/headgate.json")) {
		t.Error("the ConfigMap has another dashboard")
	}
}
