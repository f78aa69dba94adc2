package main

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What docs/capacity.md reckons with is what docs/performance.md has measured, rounded. Who measures anew and finds something else has to
// write it there too.
func TestDocs_CapacityReckonsWithWhatWasMeasured(t *testing.T) {
	report, err := os.ReadFile("docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	number := func(text string) float64 {
		scale := 1.0
		switch text = strings.ReplaceAll(text, ",", ""); {
		case strings.HasSuffix(text, " k"):
			scale, text = 1e3, strings.TrimSuffix(text, " k")
		case strings.HasSuffix(text, " M"):
			scale, text = 1e6, strings.TrimSuffix(text, " M")
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n * scale
	}
	for _, c := range []struct {
		row, said string  // the beginning of a row of the report, and of one of the page: the number is the next
		unit      float64 // of the page, in that of the report
	}{
		{"memory per idle stream, 19000 streams, one subject ", "| headgate, shared subject | ", 1},
		{"memory per idle stream, 19000 streams, each its own subject", "| headgate, subject of its own | ", 1},
		{"memory per idle stream, 19000 streams, one subject of a JetStream stream", "| headgate, one subject of a JetStream stream | ", 1},
		{"memory per idle stream, 19000 streams, one subject, with an identity", "| headgate, with identity, revocation and control | ", 1},
		{"memory per idle stream, 3000 streams, TLS and HTTP/1.1", "| headgate, TLS in the process, HTTP/1.1 and HTTP/2 | ", 1},
		{"memory per idle stream, 3000 streams, TLS and HTTP/2", "| headgate, TLS in the process, HTTP/1.1 and HTTP/2 | 46,000 and ", 1},
		{"slow clients, 20 beside 200 healthy", "| the kernel, for a client that does not read | ", 1e-3},
		{"paced fan-out, 10000 clients", "| an event to a client, alone in its round | 5 to ", 1},
		{"unicast, 10000 clients", "| a message for one client alone | ", 1},
		{"NATS to frame, one client", "| a message from NATS, before anybody gets it | ", 1},
		{"JetStream to frame, one client", "| a message from NATS, before anybody gets it | 1.1 µs; of a stream ", 1},
		{"connects, 10000 clients", "| a connect | ", 1},
		{"heartbeats, 10000 silent streams, one every 15s", "| a heartbeat | 10 to ", 1},
		{"heartbeats, 10000 silent streams, one every 1.5s", "| a heartbeat | ", 1},
	} {
		measured := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(c.row) + `[^|]*\| [^|]* \| ([\d.]+(?: [kM])?)`).FindSubmatch(report)
		said := regexp.MustCompile(regexp.QuoteMeta(c.said) + `([\d.,]*\d)`).FindSubmatch(page)
		if measured == nil || said == nil {
			t.Errorf("%s: measured %s, and the page says %s", c.row, measured, said)
			continue
		}
		if m, s := number(string(measured[1])), number(string(said[1]))*c.unit; math.Abs(s-m) > 0.1*m {
			t.Errorf("%s: measured %v, and the page says %v", c.row, m, s)
		}
	}
}
