package stack

import (
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
)

// documented are the files in deploy/proxies that tests run, and what in them is of another machine.
var documented = map[string]struct {
	files   []string                                                                     // the first one is what the command gets
	debian  string                                                                       // the package, "" for what no package has
	replace func(p *Proxy, target, admin string, cert *Certificate, dir string) []string // old, new, …
	command func(path, file, dir string) *exec.Cmd
}{
	"nginx": {[]string{"nginx.conf"}, "nginx-light", func(p *Proxy, target, _ string, cert *Certificate, dir string) []string {
		return []string{"listen 443", "listen " + p.Addr, "127.0.0.1:8080", target, "/etc/nginx/tls.crt", cert.CertFile, "/etc/nginx/tls.key", cert.KeyFile,
			"worker_rlimit_nofile 200000", "worker_rlimit_nofile 4000", "worker_connections 100000", "worker_connections 2000",
			"http {", "pid DIR/pid; error_log stderr crit;\nhttp {\nclient_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s; access_log off;",
			"DIR", dir}
	}, func(path, file, dir string) *exec.Cmd {
		return exec.Command(path, "-p", dir, "-c", file, "-e", "stderr", "-g", "daemon off; master_process off;")
	}},
	"haproxy": {[]string{"haproxy.cfg"}, "haproxy", func(p *Proxy, target, admin string, cert *Certificate, dir string) []string {
		return []string{"bind :443", "bind " + p.Addr, "127.0.0.1:8080", target, "check port 9090", "check inter 100ms fall 1 rise 1 port " + portOf(admin),
			"/etc/haproxy/edge.pem", bundle(cert, dir), "maxconn 100000", "maxconn 4000"}
	}, func(path, file, _ string) *exec.Cmd { return exec.Command(path, "-db", "-f", file) }},
	"caddy": {[]string{"Caddyfile"}, "caddy", func(p *Proxy, target, admin string, cert *Certificate, dir string) []string {
		return []string{"events.example:443 {", "{\n admin off\n auto_https disable_redirects\n storage file_system " + dir + "\n default_sni localhost\n}\nhttps://localhost:" + portOf(p.Addr) + ", https://" + p.Addr + " {",
			"127.0.0.1:8080", target, "health_port 9090", "health_port " + portOf(admin), "/etc/caddy/tls.crt", cert.CertFile, "/etc/caddy/tls.key", cert.KeyFile}
	}, func(path, file, dir string) *exec.Cmd {
		cmd := exec.Command(path, "run", "--adapter", "caddyfile", "--config", file)
		cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		return cmd
	}},
	"traefik": {[]string{"traefik.yaml", "traefik-headgate.yaml"}, "", func(p *Proxy, target, admin string, cert *Certificate, dir string) []string {
		return []string{`":443"`, `"` + p.Addr + `"`, "/etc/traefik/headgate.yaml", filepath.Join(dir, "traefik-headgate.yaml"),
			"entryPoints:\n", "global: {checkNewVersion: false}\nlog: {level: WARN}\nentryPoints:\n",
			"Host(`events.example`)", "Host(`127.0.0.1`)", "headgate:8080", target, "port: 9090, interval: 2s", "port: " + portOf(admin) + ", interval: 200ms",
			"/etc/traefik/tls.crt", cert.CertFile, "/etc/traefik/tls.key", cert.KeyFile}
	}, func(path, file, _ string) *exec.Cmd { return exec.Command(path, "--configFile="+file) }},
}

// Traefik is the path of Traefik, which deploy/test/traefik.sh builds; "" where it has not been built.
func Traefik() string { return os.Getenv("HEADGATE_TRAEFIK") }

// bundle is the certificate and its key in one file, as HAProxy takes them.
func bundle(cert *Certificate, dir string) string {
	var all []byte
	for _, file := range []string{cert.CertFile, cert.KeyFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			panic(err)
		}
		all = append(all, text...)
	}
	file := filepath.Join(dir, "edge.pem")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		panic(err)
	}
	return file
}

// StartDocumented starts a proxy with its file of deploy/proxies, in front of g. Only addresses, certificates and limits of descriptors are
// replaced in it, and what the test says: old and new text in turn. Each of them must be there.
func StartDocumented(t testing.TB, name string, g *Headgate, cert *Certificate, change ...string) *Proxy {
	t.Helper()
	d := documented[name]
	path := Traefik()
	if d.debian != "" {
		path = need.Program(t, d.debian, name)
	}
	dir := t.TempDir()
	p := &Proxy{Addr: proc.FreeAddr(t)}
	p.URL = "https://" + p.Addr
	rewrite(t, d.files, dir, append(d.replace(p, g.Addr, g.AdminAddr, cert, dir), change...))
	p.Process = proc.StartT(t, name, d.command(path, filepath.Join(dir, d.files[0]), dir))
	ctx, cancel := Deadline(t, startWait)
	defer cancel()
	if err := p.WaitListening(ctx, p.Addr); err != nil {
		t.Fatal(err)
	}
	// Traefik listens before it has read where requests go.
	if err := Poll(ctx, func() error {
		conn, err := tls.Dial("tcp", p.Addr, cert.ClientTLS())
		if err == nil {
			err = conn.Close()
		}
		return err
	}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return p
}

// rewrite copies files of deploy/proxies with other text in the place of old, which each must be in one of them.
func rewrite(t testing.TB, files []string, dir string, pairs []string) {
	t.Helper()
	found := make([]bool, len(pairs))
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join("..", "deploy", "proxies", name))
		if err != nil {
			t.Fatal(err)
		}
		conf := string(text)
		for i := 0; i+1 < len(pairs); i += 2 {
			found[i] = found[i] || strings.Contains(conf, pairs[i])
			conf = strings.ReplaceAll(conf, pairs[i], pairs[i+1])
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(conf), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if !found[i] {
			t.Fatalf("none of %v has %q", files, pairs[i])
		}
	}
}
