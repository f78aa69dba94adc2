package e2e_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/launchdarkly/eventsource"
	"github.com/tmaxmax/go-sse"

	"headgate/e2e/internal/fault"
)

// heard is an event as a client library gives it.
type heard struct{ Type, Data, ID string }

// libraries are SSE clients that others wrote: what they understand, we said right.
var libraries = map[string]func(t *testing.T, url string) <-chan heard{
	"tmaxmax/go-sse":           listenGoSSE,
	"launchdarkly/eventsource": listenLaunchDarkly,
}

func listenGoSSE(t *testing.T, url string) <-chan heard {
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	out := make(chan heard, 100)
	client := sse.Client{Backoff: sse.Backoff{InitialInterval: 50 * time.Millisecond, Multiplier: 1}}
	conn := client.NewConnection(req)
	conn.SubscribeToAll(func(e sse.Event) { out <- heard{e.Type, e.Data, e.LastEventID} })
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = conn.Connect() // returns when ctx ends
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return out
}

func listenLaunchDarkly(t *testing.T, url string) <-chan heard {
	s, err := eventsource.SubscribeWithURL(url, eventsource.StreamOptionInitialRetry(50*time.Millisecond),
		eventsource.StreamOptionErrorHandler(func(error) eventsource.StreamErrorHandlerResult {
			return eventsource.StreamErrorHandlerResult{}
		}))
	must(t, err)
	out := make(chan heard, 100)
	go func() {
		for e := range s.Events {
			last := ""
			if with, ok := e.(eventsource.EventWithLastID); ok {
				last = with.LastEventID()
			}
			out <- heard{e.Event(), e.Data(), last}
		}
	}()
	t.Cleanup(s.Close) // not waited for: v1.11.0 never ends when it is closed between decoding an event and giving it away
	return out
}

// hear returns the next event of a type; others are passed over.
func hear(t *testing.T, from <-chan heard, eventType string) heard {
	t.Helper()
	deadline := time.After(brief)
	for {
		select {
		case e := <-from:
			if e.Type == eventType {
				return e
			}
		case <-deadline:
			t.Fatalf("no %s within %s", eventType, brief)
		}
	}
}

func TestOtherClients_ReadEventsAndResumeAfterACut(t *testing.T) {
	t.Parallel()
	g := start(t, "SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms")
	for name, listen := range libraries {
		t.Run(name, func(t *testing.T) {
			net := fault.New(t, g.Addr)
			symbol := strings.ToUpper(strings.Trim(name[:3], "/"))
			events := listen(t, net.URL()+"/v1/prices/"+symbol)
			hear(t, events, "$ready")
			g.publish(t, "prices."+symbol, "one\ntwo")
			first := hear(t, events, "price")
			if first.Data != "one\ntwo" || first.ID == "" {
				t.Errorf("the first event is %+v", first)
			}
			net.Refuse()
			net.Cut()
			g.publish(t, "prices."+symbol, "while away")
			net.Accept()
			if e := hear(t, events, "price"); e.Data != "while away" {
				t.Errorf("the event after the cut is %+v", e)
			}
			ctx, cancel := soon(t)
			defer cancel()
			must(t, net.WaitRequest(ctx, "Last-Event-Id: "+first.ID)) // Go's spelling of the field name
		})
	}
}
