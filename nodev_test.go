//go:build nodev

package main

import (
	"strings"
	"testing"
)

func TestDev_WithoutTheEmbeddedServerSaysHowToGetIt(t *testing.T) {
	var stdout, stderr strings.Builder
	p := program{args: []string{"-dev"}, stdout: &stdout, stderr: &stderr}
	if code := p.run(t.Context()); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"nodev", "go build", "NATS_URL"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is missing in: %s", want, stderr.String())
		}
	}
}
