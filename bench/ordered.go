//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The naive server of streams is what a Go developer writes by hand: net/http, and an ordered consumer per client, or a watcher of the
// bucket. The id of an event is its sequence, and a client that comes back gets a consumer that begins behind it.
func runOrdered(spec roleSpec, ready chan<- roleReady) error {
	nc, err := nats.Connect(spec.NATS, nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("ordered: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("ordered: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shared", func(w http.ResponseWriter, r *http.Request) { orderedStream(w, r, js, subjectOf(shared)) })
	mux.HandleFunc("GET /own/{id}", func(w http.ResponseWriter, r *http.Request) { orderedStream(w, r, js, "own."+r.PathValue("id")) })
	mux.HandleFunc("GET /bucket", func(w http.ResponseWriter, r *http.Request) { watchBucket(w, r, js) })
	mux.HandleFunc("GET /debug/refusals", tellRefusals)
	mux.HandleFunc("GET /debug/free", func(http.ResponseWriter, *http.Request) { debug.FreeOSMemory() })
	mux.HandleFunc("GET /debug/pprof/heap", pprof.Handler("heap").ServeHTTP)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("ordered: %w", err)
	}
	ready <- roleReady{Addr: ln.Addr().String()}
	return http.Serve(ln, mux)
}

// refusals counts why clients were refused, by the words of NATS.
var refusals struct {
	sync.Mutex
	by map[string]int
}

func refuse(w http.ResponseWriter, err error) {
	refusals.Lock()
	if refusals.by == nil {
		refusals.by = map[string]int{}
	}
	refusals.by[err.Error()]++
	refusals.Unlock()
	http.Error(w, "consumer failed", http.StatusServiceUnavailable)
}

func tellRefusals(w http.ResponseWriter, _ *http.Request) {
	refusals.Lock()
	defer refusals.Unlock()
	_ = json.NewEncoder(w).Encode(refusals.by)
}

func orderedStream(w http.ResponseWriter, r *http.Request, js jetstream.JetStream, subject string) {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverNewPolicy}
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last+1
	} else if r.URL.Query().Has("since") {
		cfg.DeliverPolicy = jetstream.DeliverAllPolicy
	}
	consumer, err := js.OrderedConsumer(r.Context(), jetStream, cfg)
	if err != nil {
		refuse(w, err)
		return
	}
	messages, err := consumer.Messages()
	if err != nil {
		refuse(w, err)
		return
	}
	defer messages.Stop()
	defer context.AfterFunc(r.Context(), messages.Stop)()
	flusher, ok := beginStream(w)
	for ok {
		m, err := messages.Next()
		if err != nil {
			return
		}
		meta, err := m.Metadata()
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", meta.Sequence.Stream, m.Data()); err != nil {
			return
		}
		flusher.Flush()
	}
}

func watchBucket(w http.ResponseWriter, r *http.Request, js jetstream.JetStream) {
	bucket, err := js.KeyValue(r.Context(), jetBucket)
	if err != nil {
		refuse(w, err)
		return
	}
	watcher, err := bucket.WatchAll(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	defer func() { _ = watcher.Stop() }()
	flusher, ok := beginStream(w)
	last := uint64(0)
	for ok {
		select {
		case <-r.Context().Done():
			return
		case e := <-watcher.Updates():
			if e == nil {
				_, err = fmt.Fprintf(w, "id: %d\nevent: snapshot\ndata: {}\n\n", last)
			} else {
				last = e.Revision()
				var data []byte
				if data, err = json.Marshal(map[string]string{"key": e.Key(), "data": string(e.Value())}); err == nil {
					_, err = fmt.Fprintf(w, "event: put\ndata: %s\n\n", data)
				}
			}
			if err != nil {
				return
			}
			flusher.Flush()
		}
	}
}

func beginStream(w http.ResponseWriter) (http.Flusher, bool) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		http.Error(w, "streaming unsupported", http.StatusInternalServerError)
		return nil, false
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	flusher.Flush()
	return flusher, true
}

// runPuller is the least a Go program can do with a stream: a pull consumer without acknowledgements, asked for batches, and a loop that
// throws the messages away.
func runPuller(spec roleSpec, ready chan<- roleReady) error {
	const batch = 4096
	nc, err := nats.Connect(spec.NATS)
	if err != nil {
		return fmt.Errorf("puller: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("puller: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), jetWait)
	defer cancel()
	c, err := js.CreateConsumer(ctx, jetStream, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
	if err != nil {
		return fmt.Errorf("puller: %w", err)
	}
	messages := make(chan *nats.Msg, 16384)
	inbox := nc.NewInbox()
	if _, err := nc.ChanSubscribe(inbox, messages); err != nil {
		return fmt.Errorf("puller: %w", err)
	}
	ask, _ := json.Marshal(map[string]any{"batch": batch, "expires": 5 * time.Minute})
	next := func() error {
		return nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+jetStream+"."+c.CachedInfo().Name, inbox, ask)
	}
	if err := next(); err != nil {
		return fmt.Errorf("puller: %w", err)
	}
	ready <- roleReady{}
	bytes, left := 0, batch
	for m := range messages {
		bytes += len(m.Data)
		if left--; left == batch/2 {
			left += batch
			if err := next(); err != nil {
				return fmt.Errorf("puller: %w", err)
			}
		}
	}
	return nil
}
