package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"
)

// stacks is what goroutines have for stacks, in bytes.
func stacks() int64 {
	var m runtime.MemStats
	runtime.GC() // gives up the stacks of those that have ended
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.StackInuse)
}

// TestStack_OfAStreamOnHTTP2 holds a stream on HTTP/2 to the stack that the simplest handler needs: twice as much, which
// is what comes next, is 4 KB for every stream. The clients' own stacks are in both figures.
func TestStack_OfAStreamOnHTTP2(t *testing.T) {
	if raceEnabled {
		t.Skip("frames are larger with the race detector")
	}
	const streams = 400
	perStream := func(url string) int64 {
		transport := tlsClient(true).Transport.(*http.Transport)
		t.Cleanup(transport.CloseIdleConnections)
		one := func() io.Closer {
			resp, err := transport.RoundTrip(httpGet(t, url))
			if err != nil {
				t.Fatal(err)
			}
			var b [1]byte
			if _, err := io.ReadFull(resp.Body, b[:]); err != nil || resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
				t.Fatalf("%s: %s %v", url, resp.Status, err)
			}
			return resp.Body
		}
		open := []io.Closer{one()}
		before := stacks()
		for range streams {
			open = append(open, one())
		}
		per := (stacks() - before) / streams
		for _, o := range open {
			_ = o.Close()
		}
		return per
	}

	plain := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: $ready\ndata: {}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	plain.EnableHTTP2 = true
	plain.StartTLS()
	defer plain.Close()
	least := perStream(plain.URL)
	r := start(t, withTLS(t, nil), func(s *setup) { s.cfg.SSE.WriteTimeout = time.Minute })
	ours := perStream("https://" + r.addr + "/v1/prices/A")
	t.Logf("%d bytes of stack for a stream with its client, and %d for the simplest handler", ours, least)
	if ours > least+3<<10 {
		t.Errorf("a stream takes %d bytes of stack with its client, the simplest handler %d", ours, least)
	}
}

func httpGet(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	return req
}
