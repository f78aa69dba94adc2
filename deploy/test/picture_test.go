package deploy_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headgate/deploy/test/picture"
)

// needed is a program of Debian's. Without it the test is skipped and says so, except in CI.
func needed(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" || os.Getenv("HEADGATE_REQUIRE_E2E") == "1" {
		t.Fatalf("%s is missing: apt-get install %s", program, pkg)
	}
	if f, err := os.OpenFile(os.Getenv("HEADGATE_SKIPPED"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		fmt.Fprintf(f, "%s: %s is missing (apt-get install %s)\n", t.Name(), program, pkg)
		_ = f.Close()
	}
	t.Skipf("%s is missing: apt-get install %s", program, pkg)
	return ""
}

// prometheus scrapes the replicas as it would pods.
func (s *stage) prometheus(every time.Duration) picture.Prometheus {
	s.t.Helper()
	path := needed(s.t, "prometheus", "prometheus")
	var targets strings.Builder
	for _, r := range s.replicas {
		fmt.Fprintf(&targets, "      - targets: [%q]\n        labels: {namespace: edge, pod: %s}\n", r.admin, r.pod)
	}
	file, addr := filepath.Join(s.dir, "prometheus.yml"), freeAddr(s.t)
	text := fmt.Sprintf("global: {scrape_interval: %s, scrape_timeout: %s}\nscrape_configs:\n  - job_name: headgate\n    static_configs:\n%s", every, every, targets.String())
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.spawn("prometheus", path, nil, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(s.dir, "tsdb"), "--web.listen-address="+addr)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if status, _, err := get(s.t.Context(), "http://"+addr+"/-/ready"); err == nil && status == http.StatusOK {
			return picture.Prometheus{URL: "http://" + addr}
		}
		if time.Now().After(end) {
			s.t.Fatal("Prometheus does not start")
		}
	}
}

// play lets happen what a dashboard should show, within a time.
func (s *stage) play(took time.Duration, crowd int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), took)
	defer cancel()
	s.ended = ctx
	at := func(part float64) {
		s.t.Helper()
		select {
		case <-time.After(time.Until(s.began(ctx, took).Add(time.Duration(part * float64(took))))):
		case <-ctx.Done():
		}
	}
	s.clients.Go(func() { s.publish(100) })
	symbol := func() string { return fmt.Sprintf("/v1/prices/S%d", time.Now().UnixNano()/1000%20) }
	s.crowd(crowd, took/10, visitor{path: symbol, stay: took / 2})
	s.crowd(crowd/5, took/10, visitor{path: path("/v1/orders"), stay: took / 3})
	s.crowd(crowd/10, took/10, visitor{path: path("/v1/flags"), stay: took / 2})
	s.crowd(crowd/10, took/10, visitor{path: path("/v1/own"), token: func() string { return stageToken(fmt.Sprintf("user%d", time.Now().UnixNano()/1000%20), took) }, stay: took / 4})
	s.crowd(3, took/10, visitor{path: path("/v1/own"), token: func() string { return stageToken("late", -time.Hour) }})
	s.crowd(12, took/10, visitor{path: path("/v1/few"), stay: took / 8})
	s.crowd(crowd/20, took/10, visitor{path: path("/v1/logs"), stay: took / 3})
	s.remember(ctx)
	s.clients.Go(s.walk)
	at(0.2)
	s.crowd(8, took/20, visitor{path: path("/v1/logs"), slow: true})
	at(0.35)
	s.nats.stop(syscall.SIGKILL)
	time.Sleep(took / 50)
	s.startNATS()
	at(0.5)
	last := len(s.replicas) - 1
	s.replicas[last].proc.stop(syscall.SIGTERM) // it drains
	time.Sleep(took / 20)
	s.startReplica(last)
	at(0.6)
	s.certify(90 * 24 * time.Hour)
	at(0.7)
	s.crowd(crowd/50+1, took/20, visitor{path: path("/v1/orders"), stale: true, stay: took / 20})
	at(0.8)
	s.routes("version: 1\nroutes: [")
	at(0.86)
	s.routes(fmt.Sprintf(stageRoutes, 300))
	<-ctx.Done()
	s.clients.Wait()
}

// walk looks all the time whether something is broken that must always be so, whatever is happening.
func (s *stage) walk() {
	walks := 0
	for s.ended.Err() == nil {
		for _, r := range s.replicas {
			status, text, err := get(s.ended, "http://"+r.admin+"/debug/consistency")
			if err == nil && status == http.StatusInternalServerError {
				s.t.Errorf("%s: %s", r.pod, text)
			}
			if err == nil {
				walks++
			}
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-s.ended.Done():
		}
	}
	s.t.Logf("%d walks over the invariants", walks)
}

// began is when a context with this timeout was made.
func (s *stage) began(ctx context.Context, took time.Duration) time.Time {
	end, _ := ctx.Deadline()
	return end.Add(-took)
}

// remember keeps an id of the stream for those who come back late.
func (s *stage) remember(ctx context.Context) {
	s.clients.Go(func() {
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		inner := &stage{t: s.t, ended: short, replicas: s.replicas}
		s.last.Store(inner.stream(s.replicas[0], visitor{path: path("/v1/orders")}, ""))
	})
}

// Every panel of the dashboard shows something of a real run, and a picture can be made of it. With HEADGATE_PICTURE the run is as long as
// that says, and the pictures go into docs.
func TestDashboard_ShowsARealRun(t *testing.T) {
	t.Parallel()
	took, every, crowd, into := 30*time.Second, time.Second, 100, t.TempDir()
	if text := os.Getenv("HEADGATE_PICTURE"); text != "" {
		var err error
		if took, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		every, crowd, into = 2*time.Second, 1200, "../../docs"
	}
	chromium := needed(t, "chromium", "chromium")
	s := newStage(t, 3)
	p := s.prometheus(every)
	began := time.Now()
	s.play(took, crowd)
	span := picture.Span{From: began.Truncate(time.Second), To: began.Add(took).Truncate(time.Second), Step: every, Interval: 4 * every}
	t.Logf("%d streams in %s", s.opened.Load(), took)

	board, err := picture.Load(chart + "/dashboards/headgate.json")
	if err != nil {
		t.Fatal(err)
	}
	panels := 0
	for name, rows := range map[string][]string{"dashboard": {"At a glance", "Clients", "Delivery"}, "dashboard-nats": {"NATS", "Identity and process"}} {
		part := board.Rows(rows...)
		panels += len(part.Panels)
		page, height, without, err := picture.Page(t.Context(), part, p, span, "3 pods, a scrape every "+every.String()+"; times are UTC")
		if err != nil {
			t.Fatal(err)
		}
		for _, title := range without {
			t.Errorf("the panel %q shows nothing", title)
		}
		screenshot(t, chromium, page, height, filepath.Join(into, name+".png"))
	}
	if panels != len(board.Panels) {
		t.Errorf("%d of %d panels are in a picture", panels, len(board.Panels))
	}
}

func screenshot(t *testing.T, chromium, page string, height int, file string) {
	t.Helper()
	dir := t.TempDir()
	source, out := filepath.Join(dir, "page.html"), filepath.Join(dir, "page.png")
	if err := os.WriteFile(source, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, nil, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--user-data-dir="+filepath.Join(dir, "profile"),
		fmt.Sprintf("--window-size=1400,%d", height), "--screenshot="+out, "file://"+source)
	png, err := os.ReadFile(out)
	if err != nil || len(png) < 10_000 {
		t.Fatalf("a picture of %d bytes: %v", len(png), err)
	}
	if err := os.WriteFile(file, png, 0o644); err != nil {
		t.Fatal(err)
	}
}
