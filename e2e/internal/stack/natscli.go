package stack

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const asNATS = "HEADGATE_E2E_AS_NATS"

// NATSCommand makes a directory with a program called nats in it, for the shell commands of documents: `nats pub SUBJECT DATA`,
// `nats sub SUBJECT --count 1` and `nats stream add NAME --subjects SUBJECT --max-age AGE --defaults`, which is all they use of NATS's own command. It is this test binary again, see MaybeNATS. natsURL is
// where it connects to unless the command says so.
func NATSCommand(t testing.TB, natsURL string) (dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=%s exec %s \"$@\"\n", asNATS, natsURL, self)
	if err := os.WriteFile(filepath.Join(dir, "nats"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// MaybeNATS is the program when this process was started as one. TestMain calls it first.
func MaybeNATS() {
	url := os.Getenv(asNATS)
	if url == "" {
		return
	}
	if err := natsArgs(url, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func natsArgs(url string, args []string) error {
	if len(args) > 2 && args[0] == "-s" { // nats -s URL …
		url, args = args[1], args[2:]
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	switch {
	case len(args) == 3 && args[0] == "pub":
		if err := nc.Publish(args[1], []byte(args[2])); err != nil {
			return err
		}
		return nc.Flush()
	case len(args) == 4 && args[0] == "sub" && args[2] == "--count" && args[3] == "1":
		return printOne(nc, args[1])
	case len(args) == 8 && args[0] == "stream" && args[1] == "add" && args[3] == "--subjects" && args[5] == "--max-age" && args[7] == "--defaults":
		return addStream(nc, args[2], args[4], args[6])
	}
	return fmt.Errorf("only pub, sub and stream add are known here, not %q", args)
}

func addStream(nc *nats.Conn, name, subject, age string) error {
	keep, err := time.ParseDuration(age)
	if err != nil {
		return err
	}
	js, err := nc.JetStream()
	if err != nil {
		return err
	}
	_, err = js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{subject}, MaxAge: keep})
	return err
}

// printOne prints the next message of a subject.
func printOne(nc *nats.Conn, subject string) error {
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		return err
	}
	m, err := sub.NextMsg(startWait)
	if err != nil {
		return err
	}
	fmt.Printf("[#1] Received on %q\n%s\n", m.Subject, m.Data)
	return nil
}
