package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate/e2e/internal/stack"
	"headgate/e2e/internal/stream"
)

var proxies = map[string]func(testing.TB, string) *stack.Proxy{
	"nginx": stack.StartNginx, "haproxy": stack.StartHAProxy, "caddy": stack.StartCaddy,
}

func TestProxies_PassEventsOneByOneWithStockSettings(t *testing.T) {
	t.Parallel()
	for name, startProxy := range proxies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// HAProxy learns that a client has left when it writes to it, so the heartbeats decide how soon headgate learns it.
			g := start(t, "SSE_HEARTBEAT", "1s")
			front := startProxy(t, g.Addr)
			s := open(t, front.URL+"/v1/prices/ACME", "Accept-Encoding", "gzip")
			if enc := s.Response.Header.Get("Content-Encoding"); enc != "" {
				t.Errorf("the proxy compressed the stream (%s)", enc)
			}
			for i := range 5 { // the next one only after the last one has come
				g.publish(t, "prices.ACME", fmt.Sprint(i))
				if got := until(t, s, "price").Data(); got != fmt.Sprint(i) {
					t.Fatalf("event %d is %q", i, got)
				}
			}
			// What leaves the browser closes the stream at headgate too.
			s.Close()
			atRest(t, g.Headgate, rest{})
		})
	}
}

// Without our head the same nginx keeps every event to itself. If this fails, the test above proves nothing.
func TestProxies_StockNginxBuffersAStreamWithoutOurHead(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	front := stack.StartNginx(t, strings.TrimPrefix(s.URL, "http://"))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL, nil)
	must(t, err)
	got := make(chan error, 1)
	go func() {
		resp, err := stream.Client.Do(req)
		if err == nil {
			_, err = stream.ReadBlock(bufio.NewReader(resp.Body))
			resp.Body.Close()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Errorf("nginx passed the event on at once (%v)", err)
	case <-time.After(time.Second):
	}
	close(release)
	if err := <-got; err != nil {
		t.Errorf("nginx never passed the event on: %v", err)
	}
}

// HAProxy without option http-no-delay holds every chunk of a chunked body back for 200 ms, in the hope of more. Our body has no chunks.
func TestHAProxy_PassesEventsOnAtOnceWithStockSettings(t *testing.T) {
	g := start(t)
	front := stack.StartHAProxy(t, g.Addr)
	s := open(t, front.URL+"/v1/prices/ACME")
	const events = 20
	var took []time.Duration
	for i := range events {
		begun := time.Now()
		g.publish(t, "prices.ACME", fmt.Sprint(i))
		until(t, s, "price")
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	if median := took[events/2]; median > 100*time.Millisecond { // 0.3 ms on an idle machine, 206 ms with chunks
		t.Errorf("half of the events took more than %s", median)
	}
}

// HAProxy shares its connections to headgate between all clients. A stream whose end is not announced leaves it a connection that
// is about to close, and the next request on it is answered with 502.
func TestHAProxy_AnswersOtherRequestsWhileThousandsOfStreamsEnd(t *testing.T) {
	const streams, workers = 2000, 8
	g := start(t, "SSE_MAX_AGE", "4s", "SHUTDOWN_DRAIN", "1s")
	front := stack.StartHAProxy(t, g.Addr)

	stop := make(chan struct{})
	var answered, ended atomic.Int64
	wrong := make(chan string, workers)
	var asking sync.WaitGroup
	for range workers {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if text := askElsewhere(t.Context(), front.URL); text != "" {
					select {
					case wrong <- text:
					default:
					}
				}
				answered.Add(1)
			}
		})
	}
	var reading sync.WaitGroup
	open := make(chan struct{}, 64) // so many connects at once
	for range streams {
		reading.Go(func() {
			open <- struct{}{}
			s, err := stream.Open(t.Context(), front.URL+"/v1/prices/ACME")
			<-open
			if err != nil {
				t.Errorf("open a stream: %v", err)
				return
			}
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if end, err := s.Until(ctx, "$end"); err != nil || !strings.Contains(end.Data(), `"lifetime"`) {
				t.Errorf("stream ended with %q, %v", end, err)
				return
			}
			if _, err := s.Next(ctx); !errors.Is(err, io.EOF) {
				t.Errorf("after $end: %v, not the regular end of the response", err)
			}
			ended.Add(1)
		})
	}
	reading.Wait()
	close(stop)
	asking.Wait()
	close(wrong)
	for text := range wrong {
		t.Errorf("a request that has nothing to do with the streams: %s", text)
	}
	t.Logf("%d streams ended while %d requests were answered", ended.Load(), answered.Load())
	if answered.Load() < 500 {
		t.Errorf("only %d other requests: too few to prove anything", answered.Load())
	}
}

// askElsewhere makes a request that headgate answers with 404, over a client connection that stays open; "" means it did.
func askElsewhere(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/nowhere", nil)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusNotFound {
		return fmt.Sprintf("status %d, %v: %s", resp.StatusCode, err, body)
	}
	return ""
}
