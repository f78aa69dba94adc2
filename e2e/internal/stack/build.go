// Package stack starts what a deployment of headgate has: headgate itself, NATS, and the proxies in front, each as a process of
// its own, on free ports of loopback.
package stack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// binaries are built once for a test binary. Run sets dir.
var binaries struct {
	dir             string
	head, nats, cli func() error
}

// Setup makes a directory for the programs that the tests build; what it returns removes it. TestMain calls it.
func Setup() (cleanup func(), err error) {
	dir, err := os.MkdirTemp("", "headgate-e2e-")
	if err != nil {
		return nil, err
	}
	binaries.dir = dir
	binaries.head = sync.OnceValue(func() error { return build("../", HeadgateBinary(), ".") })
	binaries.nats = sync.OnceValue(func() error { return build(".", natsBinary(), "github.com/nats-io/nats-server/v2") })
	binaries.cli = sync.OnceValue(func() error { return build("natscli", natsCommand(), "github.com/nats-io/natscli/nats") })
	return func() { _ = os.RemoveAll(dir) }, nil
}

// HeadgateBinary is the path of the program under test, which BuildHeadgate makes.
func HeadgateBinary() string { return filepath.Join(binaries.dir, "headgate") }

func natsBinary() string { return filepath.Join(binaries.dir, "nats-server") }

// BuildHeadgate builds the program under test from the repository's root. HEADGATE_E2E_RACE=1 adds the race detector.
func BuildHeadgate() error { return binaries.head() }

func build(dir, out, pkg string) error {
	args := []string{"build", "-o", out}
	if os.Getenv("HEADGATE_E2E_RACE") == "1" && pkg == "." {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Dir = dir
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}
