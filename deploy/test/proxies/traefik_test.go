package proxies_test

import (
	"os"
	"strings"
	"testing"

	"github.com/traefik/paerser/file"
	"github.com/traefik/traefik/v3/pkg/config/dynamic"
)

func traefikFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../proxies/traefik-headgate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// read reads a dynamic configuration as Traefik's file provider does; a field that there is not is an error.
func read(text string) (*dynamic.Configuration, error) {
	c := &dynamic.Configuration{}
	return c, file.DecodeContent(text, ".yaml", c)
}

func TestTraefik_ReadsTheFile(t *testing.T) {
	c, err := read(traefikFile(t))
	if err != nil {
		t.Fatal(err)
	}
	balancer := c.HTTP.Services["headgate"].LoadBalancer
	if balancer == nil || balancer.Servers[0].URL != "http://headgate:8080" || balancer.ResponseForwarding.FlushInterval >= 0 {
		t.Errorf("the service: %+v", balancer)
	}
	if r := c.HTTP.Routers["headgate"]; c.HTTP.Services[r.Service] == nil || c.HTTP.Middlewares[r.Middlewares[0]] == nil || c.HTTP.ServersTransports[balancer.ServersTransport] == nil {
		t.Errorf("a name leads nowhere: %+v", r)
	}
}

func TestTraefik_FindsWhatIsWrong(t *testing.T) {
	for old, broken := range map[string]string{"flushInterval: -1ms": "flushEvery: -1ms", "port: 9090": "port: many"} {
		if _, err := read(strings.Replace(traefikFile(t), old, broken, 1)); err == nil {
			t.Errorf("%s is not found", broken)
		}
	}
}
