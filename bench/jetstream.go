//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jet is a broker with JetStream, which takes the place of the other one while scenarios of streams run: the paths, subjects and
// publishers are the same, but a route of headgate is one of a stream, and the naive server has an ordered consumer per client.
type jet struct {
	lab    *Lab
	js     jetstream.JetStream
	nc     *nats.Conn
	stream jetstream.Stream
	bucket jetstream.KeyValue
	routes string // file
}

const (
	jetStream = "BENCH"
	jetBucket = "BENCH"
	jetWait   = 30 * time.Second
)

const jetRoutes = `version: 1
routes:
  - name: shared
    path: /shared
    source: {type: stream, stream: BENCH, subject: "bench.shared"}
  - name: own
    path: /own/{id}
    source: {type: stream, stream: BENCH, subject: "own.{id}"}
`

const kvRoutes = `version: 1
routes:
  - name: bucket
    path: /bucket
    source: {type: kv, bucket: BENCH, key: ">"}
`

// withStreams runs f while the lab has a broker with JetStream, with routes for headgate.
func (l *Lab) withStreams(routes string, f func(j *jet) error) (err error) {
	j := &jet{lab: l, routes: filepath.Join(l.dir, "jetstream.yaml")}
	if err := os.WriteFile(j.routes, []byte(routes), 0o600); err != nil {
		return err
	}
	store, err := os.MkdirTemp(l.dir, "store-")
	if err != nil {
		return err
	}
	proc, ready, err := startRole(roleSpec{Role: "broker", Store: store}, cores.clients)
	if err != nil {
		return err
	}
	l.procs = append(l.procs, proc)
	broker, url := l.broker, l.nats
	l.broker, l.nats, l.jet = proc, ready.Addr, j
	defer func() {
		l.broker, l.nats, l.jet = broker, url, nil
		l.Stop(&Server{Proc: proc})
		_ = os.RemoveAll(store)
	}()
	if j.nc, err = nats.Connect(l.nats); err != nil {
		return err
	}
	defer j.nc.Close()
	if j.js, err = jetstream.New(j.nc, jetstream.WithPublishAsyncMaxPending(8192)); err != nil {
		return err
	}
	return f(j)
}

// fresh makes the stream anew, and lets it have as many consumers as anybody wants.
func (j *jet) fresh() (err error) {
	ctx, cancel := context.WithTimeout(j.lab.ctx, jetWait)
	defer cancel()
	_ = j.js.DeleteStream(ctx, jetStream) // it need not be there
	j.stream, err = j.js.CreateStream(ctx, jetstream.StreamConfig{Name: jetStream, Subjects: []string{"bench.>", "own.>"}, AllowDirect: true})
	return err
}

// fill publishes many messages as fast as the stream stores them: the targets of k = 0 to n-1, numbered by p like all others.
func (j *jet) fill(p *Publisher, n int, target func(k int) int) error {
	via := *p
	via.feed = &jetFeed{js: j.js}
	for k := range n {
		via.Append(target(k), now())
	}
	return via.feed.Flush()
}

// jetFeed publishes and wants every message acknowledged.
type jetFeed struct {
	js  jetstream.JetStream
	err error
}

func (f *jetFeed) Append(target int, payload []byte) {
	if f.err == nil {
		_, f.err = f.js.PublishAsync(subjectOf(target), payload, jetstream.WithStallWait(jetWait))
	}
}

func (f *jetFeed) Flush() error {
	select {
	case <-f.js.PublishAsyncComplete():
	case <-time.After(jetWait):
		return fmt.Errorf("not all messages were stored after %v", jetWait)
	}
	return f.err
}

func (f *jetFeed) Close() {}

// consumers is how many consumers the stream has.
func (j *jet) consumers() (int, error) {
	ctx, cancel := context.WithTimeout(j.lab.ctx, jetWait)
	defer cancel()
	info, err := j.stream.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.Consumers, nil
}

// watchConsumers asks again and again, until stop is called, which returns the most there were.
func (j *jet) watchConsumers() (stop func() int) {
	var most atomic.Int64
	done, quit := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			if n, err := j.consumers(); err == nil {
				most.Store(max(most.Load(), int64(n)))
			}
			select {
			case <-quit:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return func() int {
		close(quit)
		<-done
		return int(most.Load())
	}
}

// settings are those of headgate beside the ones that every scenario has.
func (j *jet) settings() []string { return []string{"ROUTES_FILE=" + j.routes} }

// roleOf is what a kind of server is while there are streams.
func (l *Lab) roleOf(kind string) string {
	switch {
	case l.jet == nil:
		return strings.TrimSuffix(kind, "-each")
	case kind == "naive":
		return "ordered"
	case kind == "receiver":
		return "puller"
	}
	return kind
}
