//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// The servers that are compared and the helpers run as processes of their own: the same executable, told by this variable
// what to be. A role serves until its standard input closes, so that nothing survives the suite.
const roleEnv = "HEADGATE_BENCH_ROLE"

// roleSpec is what a role is told.
type roleSpec struct {
	Role     string // naive, hub, bare, broker, cluster, receiver, holder, ordered, puller
	NATS     string
	Store    string // broker: has JetStream, which keeps its streams here
	Server   string // holder: address of the server
	Clients  int    // holder
	CertFile string // naive: serve TLS
	KeyFile  string
	Coalesce bool // bare: everything that arrived goes out in one send
}

// roleReady is the one line a role prints when it serves.
type roleReady struct {
	Addr    string // where clients connect; the broker's NATS address
	Control string // bare: where payloads come in
}

// runRole runs the role of this process, if it has one. The caller exits afterwards.
func runRole() (had bool) {
	text := os.Getenv(roleEnv)
	if text == "" {
		return false
	}
	var spec roleSpec
	roles := map[string]func(roleSpec, chan<- roleReady) error{
		"naive": runNaive, "hub": runNaive, "bare": runBare, "broker": runBroker, "receiver": runReceiver, "holder": runHolder,
		"cluster": runCluster, "ordered": runOrdered, "puller": runPuller,
	}
	if err := json.Unmarshal([]byte(text), &spec); err != nil || roles[spec.Role] == nil {
		fmt.Fprintf(os.Stderr, "bench: %s=%q: want a role as JSON (%v)\n", roleEnv, text, err)
		os.Exit(2)
	}
	ready := make(chan roleReady, 1)
	go func() {
		if err := roles[spec.Role](spec, ready); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}()
	line, _ := json.Marshal(<-ready)
	fmt.Println(string(line))
	_, _ = io.Copy(io.Discard, os.Stdin)
	return true
}
