package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// natsCommand is the path of NATS's own command line, of the version in e2e/natscli.
func natsCommand() string { return filepath.Join(binaries.dir, "nats") }

// NATSCommand makes a directory with the program nats in it, for the shell commands of documents. natsURL is where it connects to unless the
// command says so; the contexts of whoever runs the tests play no part.
func NATSCommand(t testing.TB, natsURL string) (dir string) {
	t.Helper()
	if err := binaries.cli(); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nXDG_CONFIG_HOME=%s NATS_URL=%s exec %s \"$@\"\n", dir, natsURL, natsCommand())
	if err := os.WriteFile(filepath.Join(dir, "nats"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
