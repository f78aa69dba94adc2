//go:build linux

package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// headgateRoutes are the paths of the other servers. Everything else is headgate's default, ids and resume included.
const headgateRoutes = `version: 1
routes:
  - name: shared
    path: /shared
    source: {type: core, subject: "bench.shared"}
  - name: lossy
    path: /lossy
    source: {type: core, subject: "bench.shared"}
    slow_consumer: drop_oldest
  - name: own
    path: /own/{id}
    source: {type: core, subject: "own.{id}"}
`

// build makes the binary of this repository.
func (l *Lab) build() error {
	l.headgate = filepath.Join(l.dir, "headgate")
	cmd := exec.CommandContext(l.ctx, "go", "build", "-o", l.headgate, ".")
	cmd.Dir = l.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build headgate: %w\n%s", err, out)
	}
	return os.WriteFile(filepath.Join(l.dir, "routes.yaml"), []byte(headgateRoutes), 0o600)
}

// startHeadgate starts the binary as an operator would: environment, routes file, limits off. The collector's settings
// are those of the program itself.
func (l *Lab) startHeadgate(s *Server, certFile, keyFile string, settings []string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	admin, err := freeAddr()
	if err != nil {
		return err
	}
	env := []string{
		"AUTH_MODE=none", "NATS_URL=" + l.nats, "ROUTES_FILE=" + filepath.Join(l.dir, "routes.yaml"), "HTTP_ADDR=" + addr, "ADMIN_ADDR=" + admin,
		"ADMIN_PPROF=true", "LOG_LEVEL=warn", "LOG_FORMAT=json",
		"LIMIT_CONNECTIONS=0", "LIMIT_CONNECTIONS_PER_IP=0", "LIMIT_CONNECTIONS_PER_USER=0", "LIMIT_CONNECT_RATE=0", "LIMIT_GLOBAL_CONNECT_RATE=0", "LIMIT_PUBLISH_RATE=0",
	}
	if certFile != "" {
		env = append(env, "HTTP_TLS_CERT_FILE="+certFile, "HTTP_TLS_KEY_FILE="+keyFile)
	}
	env = append(env, settings...)
	if s.Proc, err = startProc("headgate", cores.server, env, l.headgate); err != nil {
		return err
	}
	l.procs = append(l.procs, s.Proc)
	s.Addr, s.pprof = addr, "http://"+admin
	return l.awaitReady(s, "http://"+admin+"/readyz")
}

func (l *Lab) awaitReady(s *Server, url string) error {
	ctx, cancel := context.WithTimeout(l.ctx, 20*time.Second)
	defer cancel()
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		if !s.Proc.Alive() {
			return fmt.Errorf("headgate ended: %s", s.Proc.tail.String())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("headgate is not ready after 20 s: %s", s.Proc.tail.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
