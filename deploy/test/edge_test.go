package deploy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// throughHAProxy runs the documented configuration in front of a replica, on an address of this machine and without TLS, and gives that
// address.
func throughHAProxy(t *testing.T, public, adminPort string) string {
	t.Helper()
	haproxy := needed(t, "haproxy", "haproxy")
	text, err := os.ReadFile("../proxies/haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	edge := freeAddr(t)
	for _, r := range [][2]string{
		{"maxconn 100000", "maxconn 1000"}, // descriptors
		{"bind :443 ssl crt /etc/haproxy/edge.pem alpn h2,http/1.1", "bind " + edge},
		{"server a 127.0.0.1:8080 check port 9090", "server a " + public + " check inter 200ms port " + adminPort},
	} {
		if !bytes.Contains(text, []byte(r[0])) {
			t.Fatalf("haproxy.cfg has no %q any more", r[0])
		}
		text = bytes.ReplaceAll(text, []byte(r[0]), []byte(r[1]))
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, haproxy, nil, "-db", "-f", file)
	return edge
}
