package browser_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/fault"
)

func TestMain(m *testing.M) {
	code := m.Run()
	browser.Close()
	os.Exit(code)
}

const page = `<!doctype html><title>t</title><button id=b onclick="window.clicked = true">b</button><script>
window.ids = [];
const es = new EventSource("/events");
es.onmessage = e => ids.push(e.lastEventId);
</script>`

// server sends one event on each connection, with an id one above the Last-Event-ID, and then keeps the stream open.
func server(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Security-Policy", "img-src 'none'")
			fmt.Fprint(w, page)
		case "/events":
			var last int
			fmt.Sscan(r.Header.Get("Last-Event-ID"), &last)
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "retry: 50\nid: %d\ndata: x\n\n", last+1)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(s.CloseClientConnections)
	return s
}

func TestPage_SeesAStreamComeBackAfterACut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	p := browser.New(t)
	s := server(t)
	proxy := fault.New(t, strings.TrimPrefix(s.URL, "http://"))
	if err := p.Open(ctx, proxy.URL()+"/"); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(ctx, `ids.length === 1`); err != nil {
		t.Fatal(err)
	}
	proxy.Cut()
	if err := p.Wait(ctx, `ids.length === 2`); err != nil {
		t.Fatal(err)
	}
	if err := proxy.WaitRequest(ctx, "GET /events", "Last-Event-ID: 1\r\n"); err != nil {
		t.Fatalf("the browser did not come back with its id: %v in %q", err, proxy.Requests())
	}
}

func TestPage_TakesKeysAndTellsPolicyViolations(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	p := browser.New(t)
	if err := p.Open(ctx, server(t).URL+"/"); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"Tab", "Enter"} {
		if err := p.Press(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Wait(ctx, `window.clicked`); err != nil {
		t.Fatal(err)
	}
	if err := p.Eval(ctx, `new Promise(r => { const i = new Image(); i.onerror = r; i.src = "/x.png" }).then(() => 0)`, nil); err != nil {
		t.Fatal(err)
	}
	if said := strings.Join(p.Said(), "\n"); !strings.Contains(said, "security error") {
		t.Fatalf("no policy violation in %q", said)
	}
	png, err := p.Screenshot(ctx)
	if err != nil || !strings.HasPrefix(string(png), "\x89PNG") {
		t.Fatalf("screenshot: %v, %d bytes", err, len(png))
	}
}
