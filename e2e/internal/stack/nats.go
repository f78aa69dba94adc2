package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headgate/e2e/internal/proc"
)

const startWait = 30 * time.Second // for a program to listen, on a busy machine

// NATS is a real nats-server, which can be stopped and started again on the same port.
type NATS struct {
	Addr string

	config string
	proc   *proc.Process
}

// StartNATS starts a nats-server with JetStream for the length of the test. extra is added to its configuration file.
func StartNATS(t testing.TB, extra string) *NATS {
	t.Helper()
	n := NewNATS(t, extra)
	n.Start(t)
	return n
}

// NewNATS prepares a nats-server without starting it.
func NewNATS(t testing.TB, extra string) *NATS {
	t.Helper()
	if err := binaries.nats(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	n := &NATS{Addr: proc.FreeAddr(t), config: filepath.Join(dir, "nats.conf")}
	text := "listen: \"" + n.Addr + "\"\njetstream { store_dir: \"" + filepath.Join(dir, "js") + "\" }\n" + extra + "\n"
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

// Start starts the server, again after Kill.
func (n *NATS) Start(t testing.TB) {
	t.Helper()
	n.proc = proc.StartT(t, "nats-server", exec.Command(natsBinary(), "-c", n.config))
	ctx, cancel := Deadline(t, startWait)
	defer cancel()
	if err := n.proc.WaitListening(ctx, n.Addr); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server as a crash would.
func (n *NATS) Kill() { n.proc.Kill() }

// URL is the server's address for clients.
func (n *NATS) URL() string { return "nats://" + n.Addr }

// Connect is a publisher for the length of the test, which comes back when the server does.
func (n *NATS) Connect(t testing.TB) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(n.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		t.Fatalf("connect to NATS: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}
