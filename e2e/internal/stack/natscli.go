package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const asNATS = "HEADGATE_E2E_AS_NATS"

// NATSCommand makes a directory with a program called nats in it, for the shell commands of documents. It is this test binary again, see
// MaybeNATS, and knows what the documents use of NATS's own command: natsArgs. natsURL is where it connects to unless the command says so.
// HEADGATE_NATS_COMMAND is the path of NATS's own command, which is used instead.
func NATSCommand(t testing.TB, natsURL string) (dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=%s exec %s \"$@\"\n", asNATS, natsURL, self)
	if own := os.Getenv("HEADGATE_NATS_COMMAND"); own != "" {
		script = fmt.Sprintf("#!/bin/sh\nNATS_URL=%s exec %s \"$@\"\n", natsURL, own)
	}
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
	switch name := strings.Join(args[:min(2, len(args))], " "); {
	case len(args) == 3 && args[0] == "pub":
		if err := nc.Publish(args[1], []byte(args[2])); err != nil {
			return err
		}
		return nc.Flush()
	case len(args) == 4 && args[0] == "sub" && option(args, "--count") == "1":
		return printOne(nc, args[1])
	case len(args) >= 3 && args[0] == "req":
		return request(nc, args[1], args[2], option(args, "--replies") == "0")
	case name == "micro ls":
		return request(nc, "$SRV.PING."+args[2], "", true)
	case name == "stream add":
		return addStream(nc, args[2], option(args, "--subjects"), option(args, "--max-age"))
	case name == "kv add":
		return addBucket(nc, args[2], option(args, "--ttl"), option(args, "--marker-ttl"))
	case name == "kv put" && len(args) == 5:
		return put(nc, args[2], args[3], args[4])
	}
	return fmt.Errorf("%q is not known here", args)
}

// option is the value behind an option, "" without it.
func option(args []string, name string) string {
	if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// request prints the first answer, or all that come until none has come for a while.
func request(nc *nats.Conn, subject, data string, all bool) error {
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	if err := nc.PublishRequest(subject, inbox, []byte(data)); err != nil {
		return err
	}
	for wait := startWait; ; wait = 300 * time.Millisecond {
		m, err := sub.NextMsg(wait)
		switch {
		case errors.Is(err, nats.ErrTimeout) && wait != startWait:
			return nil
		case err != nil:
			return err
		case m.Header.Get("Status") == "503":
			return nats.ErrNoResponders
		case m.Header.Get("Nats-Service-Error") != "":
			return errors.New(m.Header.Get("Nats-Service-Error"))
		}
		fmt.Printf("%s\n", m.Data)
		if !all {
			return nil
		}
	}
}

func addBucket(nc *nats.Conn, name, age, marker string) error {
	ttl, err := time.ParseDuration(age)
	if err != nil {
		return err
	}
	markers, err := time.ParseDuration(marker)
	if err != nil {
		return err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	_, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: name, TTL: ttl, LimitMarkerTTL: markers})
	return err
}

func put(nc *nats.Conn, bucket, key, value string) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return err
	}
	_, err = kv.Put(ctx, key, []byte(value))
	return err
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
