package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestEnv_EachMistakeHasItsVariableAndMessage(t *testing.T) {
	for _, test := range []struct{ given, variable, message string }{
		{"HTTP_ADDR=localhost", "HTTP_ADDR", "not an address"},
		{"HTTP_ADDR=:99999", "HTTP_ADDR", "is not a number from 0 to 65535"},
		{"HTTP_ADDR=:http", "HTTP_ADDR", "is not a number"},
		{"HTTP_ADDR=:+80", "HTTP_ADDR", "is not a number"},
		{"HTTP_ADDR=http://x:80", "HTTP_ADDR", "not an address"},
		{"ADMIN_ADDR=:8080", "ADMIN_ADDR", "the same address as HTTP_ADDR"},
		{"HTTP_MORE_ADDRS=:8081,8082", "HTTP_MORE_ADDRS", "not an address"},
		{"HTTP_MORE_ADDRS=:8081,:8080", "HTTP_MORE_ADDRS", "an address that is there already"},
		{"HTTP_MORE_ADDRS=:9090", "HTTP_MORE_ADDRS", "an address that is there already"},
		{"HTTP_H2C=maybe", "HTTP_H2C", "neither true nor false"},
		{"HTTP_BASE_PATH=edge", "HTTP_BASE_PATH", "begins with /"},
		{"HTTP_BASE_PATH=/{x}", "HTTP_BASE_PATH", "a placeholder cannot stand here"},
		{"HTTP_TRUSTED_PROXIES=10.0.0.0/33", "HTTP_TRUSTED_PROXIES", "neither a network nor an address"},
		{"HTTP_MAX_HEADER_BYTES=10", "HTTP_MAX_HEADER_BYTES", "too small"},
		{"HTTP_MAX_HEADER_BYTES=1GiB", "HTTP_MAX_HEADER_BYTES", "too large"},
		{"NATS_URL=http://nats:4222", "NATS_URL", `scheme "http" is not one of NATS`},
		{"NATS_URL=nats://", "NATS_URL", "names no host"},
		{"NATS_URL=nats://h:99999", "NATS_URL", `its port "99999" is not a number from 1 to 65535`},
		{"NATS_URL=h:0", "NATS_URL", `its port "0" is not a number`},
		{"NATS_URL=h:port", "NATS_URL", "its port is not a number"},
		{"NATS_URL=nats://a:4222,nats://b:99999,nats://c:4222", "NATS_URL", "server 2 of 3: its port"},
		{"NATS_URL=nats://a b:4222", "NATS_URL", "its host holds a character"},
		{"NATS_URL=nats://u:1%zz@a", "NATS_URL", "it holds a % that begins no escape"},
		{"NATS_URL=nats://u:1/2@a", "NATS_URL", "its user or password holds a character that must be escaped"},
		{"NATS_URL=,", "NATS_URL", "names no server"},
		{"NATS_PASSWORD=x", "NATS_PASSWORD", "given without NATS_USER"},
		{"NATS_CREDS_FILE=/none.creds", "NATS_CREDS_FILE", "cannot be read: file does not exist"},
		{"NATS_INBOX_PREFIX=a.>", "NATS_INBOX_PREFIX", "wildcards are not allowed here"},
		{"NATS_DATA_CONNECTIONS=0", "NATS_DATA_CONNECTIONS", "too small"},
		{"NATS_NAME=a\nb", "NATS_NAME", "control character"},
		{"SSE_HEARTBEAT=15", "SSE_HEARTBEAT", "the unit is missing"},
		{"SSE_HEARTBEAT=-1s", "SSE_HEARTBEAT", "less than nothing"},
		{"SSE_HEARTBEAT=soon", "SSE_HEARTBEAT", "not a duration"},
		{"SSE_HEARTBEAT_EVENT=$beat", "SSE_HEARTBEAT_EVENT", "not an event type"},
		{"SSE_SLOW_CONSUMER=drop", "SSE_SLOW_CONSUMER", "no such value"},
		{"SSE_SHARDS=1.5", "SSE_SHARDS", "not a whole number"},
		{"SSE_SHARDS=99999999999999999999", "SSE_SHARDS", "too large"},
		{"LIMIT_CONNECT_RATE=NaN", "LIMIT_CONNECT_RATE", "not a number"},
		{"LIMIT_CONNECT_RATE=-0.5", "LIMIT_CONNECT_RATE", "too small"},
		{"LIMIT_CONNECTIONS_PER_IP=-2", "LIMIT_CONNECTIONS_PER_IP", "too small"},
		{"CORS_ALLOWED_ORIGINS=app.example", "CORS_ALLOWED_ORIGINS", "is not an origin"},
		{"SHUTDOWN_TIMEOUT=1s", "SHUTDOWN_TIMEOUT", "shorter than SHUTDOWN_DRAIN"},
		{"SHUTDOWN_DELAY=1m", "SHUTDOWN_TIMEOUT", "shorter than SHUTDOWN_DELAY=1m"},
		{"AUTH_MODE=jwt", "AUTH_ISSUER", "somebody must issue the tokens"},
		{"AUTH_MODE=nine", "AUTH_MODE", "no such value"},
		{"LOG_FORMAT=jsonl", "LOG_FORMAT", "no such value"},
		{"ROUTES_FILE=/nowhere.yaml", "ROUTES_FILE", "cannot be read"},
	} {
		t.Run(test.given, func(t *testing.T) {
			_, _, errs := load(t, good, test.given)
			if len(errs) != 1 || errs[0].Variable != test.variable || !strings.Contains(errs[0].Message, test.message) {
				t.Fatalf("%v", errs)
			}
		})
	}
}

func TestEnv_EveryWrongServerOfTheListIsNamed(t *testing.T) {
	_, _, errs := load(t, good, "NATS_URL=nats://a:99999,b,http://c")
	if len(errs) != 2 || !strings.HasPrefix(errs[0].Message, "server 1 of 3: ") || !strings.HasPrefix(errs[1].Message, "server 3 of 3: ") {
		t.Error(errs)
	}
}

func TestEnv_HalfACertificateIsCheckedToo(t *testing.T) {
	for given, missing := range map[string]string{
		"HTTP_TLS_CERT_FILE": "HTTP_TLS_KEY_FILE", "HTTP_TLS_KEY_FILE": "HTTP_TLS_CERT_FILE",
		"NATS_TLS_CERT_FILE": "NATS_TLS_KEY_FILE", "NATS_TLS_KEY_FILE": "NATS_TLS_CERT_FILE",
	} {
		_, _, errs := load(t, good, given+"=/nope")
		if len(errs) != 2 || errs[0].Variable != given || !strings.Contains(errs[0].Message, "cannot be read") ||
			errs[1].Variable != missing || !strings.Contains(errs[1].Message, "missing, while "+given+" is given") {
			t.Errorf("%s: %v", given, errs)
		}
	}
}

func TestEnv_TheTimeoutThatIsProposedIsOneThatAPersonWouldWrite(t *testing.T) {
	for drain, want := range map[string]string{"50s": "1m10s", "30s": "40s", "41s": "1m", "2h": "2h40m", "45m": "1h"} {
		_, _, errs := load(t, good, "SHUTDOWN_DRAIN="+drain, "SHUTDOWN_TIMEOUT=1s")
		if len(errs) != 1 || errs[0].Example != "SHUTDOWN_TIMEOUT="+want {
			t.Errorf("%s: %v", drain, errs)
		}
	}
	if got := roomAfter(100 * time.Millisecond); got != 134*time.Millisecond {
		t.Error(got)
	}
}

func TestEnv_UnknownVariablesAreErrorsWhenMisspeltElseWarnings(t *testing.T) {
	for name, kind := range map[string]string{
		"NATS_SERVERS": "error", "ROUTES": "error", "LOG_LVL": "error", "SSE_HEARTBEET": "error", "HTTP_ADR": "error", "ROUTE_FILE": "error",
		"NATS_FLAVOUR": "warning", "SSE_COMPRESSION": "warning", "LIMIT_SHOES_PER_USER": "warning",
		"NATS_PORT": "none", "NATS_PORT_4222_TCP_ADDR": "none", "NATS_SERVICE_HOST": "none", "SSE_SERVICE_PORT_HTTP": "none",
		"HTTP_PROXY": "none", "NATS_CONTEXT": "none", "PATH": "none", "HOME": "none", "HTTPS_PROXY": "none",
	} {
		_, warnings, errs := load(t, good, name+"=s3cr3t")
		got := "none"
		if len(errs) == 1 {
			got = "error"
		} else if len(warnings) == 1 && errs == nil {
			got = "warning"
		}
		if got != kind {
			t.Errorf("%s: %s, want %s: %v %v", name, got, kind, errs, warnings)
		}
		if errs != nil && strings.Contains(errs.Error(), "s3cr3t") {
			t.Errorf("%s: the value of an unknown variable is shown", name)
		}
	}
}

func TestEnv_AliasesLeadToVariablesThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, f := range fields() {
		if known[f.name] {
			t.Errorf("%s twice", f.name)
		}
		known[f.name] = true
		if madeByKubernetes(f.name) {
			t.Errorf("%s looks like a variable that Kubernetes makes", f.name)
		}
	}
	for alias, name := range aliases {
		if known[alias] || !known[name] {
			t.Errorf("%s -> %s", alias, name)
		}
	}
}

func TestEnv_EveryDefaultIsAllowedAndEverySampleLoads(t *testing.T) {
	defaults := DefaultConfig()
	for _, f := range fields() {
		if message, ok := f.check(&defaults); !ok && f.name != "AUTH_MODE" {
			t.Errorf("the default of %s: %s", f.name, message)
		}
		if f.secret || strings.HasSuffix(f.name, "_FILE") || f.name == "HTTP_ADDR" && f.sample(&defaults) == "" {
			continue
		}
		var r report
		c := DefaultConfig()
		readEnv(&c, map[string]string{f.name: f.sample(&defaults)}, &r)
		if err := r.err(); err != nil {
			t.Errorf("the sample of %s: %v", f.name, err)
		}
	}
}

func TestEnv_ACertificateAndItsKeyMustBelongTogether(t *testing.T) {
	cert, key := keyPair(t)
	_, other := keyPair(t)
	for _, test := range []struct {
		key     string
		message string
	}{{key, ""}, {other, "private key does not match public key"}, {"no key", "failed to find any PEM data"}} {
		_, _, err := Load(Options{Environ: []string{"AUTH_MODE=none", "SUBJECTS_ALLOW=a", "HTTP_TLS_CERT_FILE=/c", "HTTP_TLS_KEY_FILE=/k", "NATS_TLS_CA_FILE=/c"},
			ReadFile: files(map[string]string{"/c": cert, "/k": test.key})})
		if test.message == "" && err != nil || test.message != "" && (err == nil || !strings.Contains(err.Error(), test.message)) {
			t.Errorf("%s: %v", test.message, err)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE") {
			t.Error("the key is shown")
		}
	}
}

func keyPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	der2, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der2}))
}

func TestEnv_BasePathLosesItsLastSlash(t *testing.T) {
	for given, want := range map[string]string{"/": "/", "/edge": "/edge", "/edge/v2/": "/edge/v2"} {
		if c, _, errs := load(t, good, "HTTP_BASE_PATH="+given); errs != nil || c.HTTP.BasePath != want {
			t.Errorf("%s: %q %v", given, c.HTTP.BasePath, errs)
		}
	}
	if _, warnings, _ := load(t, good, "HTTP_BASE_PATH=/v1"); len(warnings) != 1 {
		t.Errorf("no warning about a doubled base path: %v", warnings)
	}
}

func TestProxies_AreNetworksAddressesOrPrivate(t *testing.T) {
	c, _, errs := load(t, good, "HTTP_TRUSTED_PROXIES=192.0.2.7, 2001:db8::/32,private")
	if errs != nil {
		t.Fatal(errs)
	}
	p := c.HTTP.Prefixes()
	if len(p) != 2+len(private) || p[0].String() != "192.0.2.7/32" || p[1].String() != "2001:db8::/32" {
		t.Error(p)
	}
	if _, warnings, errs := load(t, good, "HTTP_TRUSTED_PROXIES=0.0.0.0/0"); errs != nil || len(warnings) != 1 {
		t.Error(warnings, errs)
	}
}
