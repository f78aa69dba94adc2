package stack

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
)

// Proxy is a reverse proxy in front of headgate.
type Proxy struct {
	*proc.Process
	Addr, URL string
}

// nginxConf is Debian's default with one server that has nothing but proxy_pass in it. HTTP/1.1 and buffering stay at their
// defaults (HTTP/1.0 to the upstream, buffered), as a newcomer has them.
const nginxConf = `
daemon off;
master_process off;
pid DIR/nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 20000;
events { worker_connections 9000; }
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  server {
    listen ADDR;
    location / { proxy_pass http://TARGET; }
  }
}
`

// StartNginx starts nginx with stock proxy_pass to target.
func StartNginx(t testing.TB, target string) *Proxy {
	t.Helper()
	path := need.Program(t, "nginx-light", "nginx")
	return startProxy(t, "nginx", nginxConf, target, func(conf, dir string) *exec.Cmd {
		return exec.Command(path, "-p", dir, "-c", conf, "-e", "stderr")
	})
}

// awayConf is nginx as it should stand in front of replicas that come and go: it asks the next one when a connection is refused, and
// where none is there it answers so that an EventSource comes back, for which a 502 would be the end.
const awayConf = `
daemon off;
master_process off;
pid DIR/nginx.pid;
error_log stderr crit;
events { worker_connections 900; }
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  upstream headgate {
TARGET
  }
  server {
    listen ADDR;
    location / {
      proxy_pass http://headgate;
      error_page 502 503 504 =200 @away;
    }
    location @away {
      types { }
      default_type text/event-stream;
      add_header Cache-Control no-store;
      add_header Access-Control-Allow-Origin $http_origin;
      return 200 "retry: 200\n\n";
    }
  }
}
`

// StartNginxFor starts nginx in front of replicas, with awayConf.
func StartNginxFor(t testing.TB, gates ...*Headgate) *Proxy {
	t.Helper()
	path := need.Program(t, "nginx-light", "nginx")
	var servers strings.Builder
	for _, g := range gates {
		fmt.Fprintf(&servers, "    server %s max_fails=0;\n", g.Addr) // it is back as soon as it listens
	}
	return startProxy(t, "nginx", awayConf, servers.String(), func(conf, dir string) *exec.Cmd {
		return exec.Command(path, "-p", dir, "-c", conf, "-e", "stderr")
	})
}

// rolloutConf is nginx in front of replicas that are restarted one after the other, with nothing in it but what docs/reload.md asks for. It
// has no health checks: it asks the next replica where a connection is refused.
const rolloutConf = `
daemon off;
master_process off;
pid DIR/nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 20000;
events { worker_connections 9000; }
http {
  access_log off;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  upstream headgate {
TARGET
  }
  server {
    listen ADDR;
    location / {
      proxy_pass http://headgate;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout 1h;
    }
  }
}
`

// StartNginxRollout starts nginx in front of replicas, with rolloutConf.
func StartNginxRollout(t testing.TB, gates ...*Headgate) *Proxy {
	t.Helper()
	path := need.Program(t, "nginx-light", "nginx")
	var servers strings.Builder
	for _, g := range gates {
		fmt.Fprintf(&servers, "    server %s max_fails=0;\n", g.Addr)
	}
	return startProxy(t, "nginx", rolloutConf, servers.String(), func(conf, dir string) *exec.Cmd {
		return exec.Command(path, "-p", dir, "-c", conf, "-e", "stderr")
	})
}

// haproxyConf shares back-end connections between all clients, which is what brings streams that end and other requests together.
const haproxyConf = `
global
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
frontend in
  bind ADDR
  default_backend out
backend out
  server headgate TARGET pool-max-conn -1
`

// StartHAProxy starts HAProxy with http-reuse always to target.
func StartHAProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	path := need.Program(t, "haproxy", "haproxy")
	return startProxy(t, "haproxy", haproxyConf, target, func(conf, _ string) *exec.Cmd {
		return exec.Command(path, "-db", "-f", conf)
	})
}

// balancerConf spreads requests over several headgates, asks each for its readiness, and tries another one when a connection is
// refused: what an ingress does.
const balancerConf = `
global
  maxconn 9000
defaults
  mode http
  timeout connect 1s
  timeout client 1h
  timeout server 1h
  http-reuse always
  option redispatch 1
  retries 3
frontend in
  bind ADDR
  default_backend out
backend out
  balance roundrobin
  option httpchk GET /readyz
TARGET
`

// StartBalancer starts HAProxy in front of several headgates. One check that fails is enough, so that tests need not wait.
func StartBalancer(t testing.TB, gates ...*Headgate) *Proxy {
	t.Helper()
	return startBalancer(t, "inter 100ms fall 1 rise 1", gates)
}

// StartHAProxyRollout starts it with the checks that docs/reload.md asks for: with thousands of streams a machine may be busy for longer than
// a check is patient, and where all replicas count as down HAProxy answers 503.
func StartHAProxyRollout(t testing.TB, gates ...*Headgate) *Proxy {
	t.Helper()
	return startBalancer(t, "inter 1s fall 3 rise 1", gates)
}

func startBalancer(t testing.TB, checks string, gates []*Headgate) *Proxy {
	t.Helper()
	path := need.Program(t, "haproxy", "haproxy")
	var servers strings.Builder
	for i, g := range gates {
		fmt.Fprintf(&servers, "  server g%d %s check addr 127.0.0.1 port %s %s\n", i, g.Addr, portOf(g.AdminAddr), checks)
	}
	return startProxy(t, "haproxy", balancerConf, servers.String(), func(conf, _ string) *exec.Cmd {
		return exec.Command(path, "-db", "-f", conf)
	})
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

const caddyConf = `
{
	admin off
	auto_https off
	storage file_system DIR
}
http://ADDR {
	encode gzip
	reverse_proxy TARGET
}
`

// StartCaddy starts Caddy with a bare reverse_proxy and compression to target.
func StartCaddy(t testing.TB, target string) *Proxy {
	t.Helper()
	path := need.Program(t, "caddy", "caddy")
	return startProxy(t, "caddy", caddyConf, target, func(conf, dir string) *exec.Cmd {
		cmd := exec.Command(path, "run", "--adapter", "caddyfile", "--config", conf)
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		return cmd
	})
}

func startProxy(t testing.TB, name, conf, target string, command func(conf, dir string) *exec.Cmd) *Proxy {
	t.Helper()
	dir := t.TempDir()
	p := &Proxy{Addr: proc.FreeAddr(t)}
	p.URL = "http://" + p.Addr
	file := filepath.Join(dir, name+".conf")
	text := strings.NewReplacer("ADDR", p.Addr, "TARGET", target, "DIR", dir).Replace(conf)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p.Process = proc.StartT(t, name, command(file, dir))
	ctx, cancel := Deadline(t, startWait)
	defer cancel()
	if err := p.WaitListening(ctx, p.Addr); err != nil {
		t.Fatal(err)
	}
	return p
}
