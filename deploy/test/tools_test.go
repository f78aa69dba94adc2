// Package deploy_test holds what deploy/ ships against what it is meant for: the chart against Kubernetes' own schemas and Pod Security
// rules, its settings against headgate itself, alerts and dashboard against the metrics that a running headgate shows.
package deploy_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const chart = "../chart"

var bin struct {
	dir                                          string
	helm, headgate, nats, apiserver, controllers func() (string, error)
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "headgate-deploy-")
	if err != nil {
		panic(err)
	}
	bin.dir = dir
	bin.helm = program("helm", ".", "helm.sh/helm/v4/cmd/helm")
	bin.headgate = program("headgate", "../..", "-tags", "nodev", ".")
	bin.nats = program("nats-server", "../../e2e", "github.com/nats-io/nats-server/v2")
	version := "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion + " -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
	bin.apiserver = program("kube-apiserver", "apiserver", "-ldflags", version, "k8s.io/kubernetes/cmd/kube-apiserver")
	bin.controllers = program("kube-controller-manager", "apiserver", "-ldflags", version, "k8s.io/kubernetes/cmd/kube-controller-manager")
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// program builds a program once, when it is first asked for.
func program(name, dir string, args ...string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		out := filepath.Join(bin.dir, name)
		cmd := exec.Command("go", append([]string{"build", "-o", out}, args...)...)
		cmd.Dir = dir
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", name, err, text)
		}
		return out, nil
	})
}

func built(t *testing.T, program func() (string, error)) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// promtool is Debian's. Without it the test is skipped and says so, except in CI.
func promtool(t *testing.T, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("CI") == "true" || os.Getenv("HEADGATE_REQUIRE_E2E") == "1" {
			t.Fatal("promtool is missing: apt-get install prometheus")
		}
		if f, err := os.OpenFile(os.Getenv("HEADGATE_SKIPPED"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			fmt.Fprintf(f, "%s: promtool is missing (apt-get install prometheus)\n", t.Name())
			_ = f.Close()
		}
		t.Skip("promtool is missing: apt-get install prometheus")
	}
	return run(t, nil, "promtool", args...)
}

// run gives what a command prints, and fails the test when the command fails.
func run(t *testing.T, stdin []byte, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, text)
	}
	return string(text)
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
