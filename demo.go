package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"time"

	"headgate/internal/flow"
)

const (
	demoTick    = 250 * time.Millisecond
	demoTimeout = 2 * time.Second // of one publish; a NATS that is away costs the demo nothing but its messages
)

// publisher is what the demo needs of bridge.
type publisher interface {
	Publish(ctx context.Context, subject string, header map[string][]string, body []byte) (flow.Ack, error)
}

// demo plays the services behind the demo routes: it publishes to NATS, and knows of no client.
type demo struct {
	nats    publisher
	streams func() int
	log     *slog.Logger
	started time.Time
	quotes  []quote
	rounds  int
	numbers int // orders and sign-ups so far
	stored  stored
}

// What the demo says, in the order in which it is read.
type (
	price struct {
		Symbol string  `json:"symbol"`
		Price  float64 `json:"price"`
		Change float64 `json:"change"` // in percent, since the start
		Time   string  `json:"time"`
	}
	order struct {
		Order int     `json:"order"`
		Total float64 `json:"total"`
	}
	signup struct {
		Account int    `json:"account"`
		Plan    string `json:"plan"`
	}
	message struct {
		Text string `json:"text"`
		Time string `json:"time"`
	}
	analytics struct {
		Time       string `json:"time"`
		Streams    int    `json:"streams"`
		Goroutines int    `json:"goroutines"`
		HeapKiB    uint64 `json:"heap_kib"`
		UptimeS    int    `json:"uptime_s"`
	}
)

type quote struct {
	symbol      string
	open, price float64
}

// newDemo makes the demo. Without a bucket it leaves alone what needs streams and buckets.
func newDemo(nats publisher, values bucket, streams func() int, log *slog.Logger) *demo {
	return &demo{nats: nats, streams: streams, log: log, started: time.Now(), stored: newStored(values), quotes: []quote{
		{"ACME", 128.40, 128.40}, {"GLOBEX", 61.25, 61.25}, {"HOOLI", 342.10, 342.10}, {"UMBRA", 17.83, 17.83}, {"WAYNE", 905.00, 905.00},
	}}
}

func (d *demo) run(ctx context.Context) error {
	tick := time.NewTicker(demoTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.round(ctx)
		}
	}
}

// round is one tick: two prices each time, the others every so often.
func (d *demo) round(ctx context.Context) {
	d.rounds++
	d.price(ctx, 0) // the one that everybody looks at first
	d.price(ctx, 1+rand.IntN(len(d.quotes)-1))
	if d.rounds%4 == 0 {
		d.analytics(ctx)
	}
	if d.rounds%3 == 0 {
		d.feed(ctx)
	}
	if d.rounds%20 == 10 {
		d.notify(ctx)
	}
	if d.rounds%60 == 30 {
		d.publish(ctx, "demo.broadcast", "", message{"Hello to everybody who listens", now()})
	}
	if d.stored.values != nil {
		d.store(ctx)
	}
}

func (d *demo) price(ctx context.Context, i int) {
	q := &d.quotes[i]
	// A random walk that is drawn back to where it began, so that it stays a price however long the demo runs.
	q.price = max(0.01, q.price*(1+rand.NormFloat64()*0.0015)+(q.open-q.price)*0.01)
	d.publish(ctx, "demo.prices."+q.symbol, "", price{q.symbol, round(q.price, 2), round((q.price/q.open-1)*100, 2), now()})
}

func (d *demo) feed(ctx context.Context) {
	d.numbers++
	region := []string{"eu", "us", "asia"}[rand.IntN(3)]
	if rand.IntN(2) == 0 {
		d.publish(ctx, fmt.Sprintf("demo.feed.%s.orders", region), "order", order{d.numbers, round(5+rand.Float64()*200, 2)})
		return
	}
	d.publish(ctx, fmt.Sprintf("demo.feed.%s.signups", region), "signup", signup{d.numbers, []string{"free", "team"}[rand.IntN(2)]})
}

func (d *demo) notify(ctx context.Context) {
	user := []string{"alice", "bob"}[rand.IntN(2)]
	kind, text := "mention", "Somebody mentioned you"
	if rand.IntN(2) == 0 {
		kind, text = "payment", "A payment has arrived"
	}
	d.publish(ctx, fmt.Sprintf("demo.users.%s.notify.%s", user, kind), "", message{text, now()})
}

func (d *demo) analytics(ctx context.Context) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	d.publish(ctx, "demo.analytics", "", analytics{now(), d.streams(), runtime.NumGoroutine(), mem.HeapAlloc >> 10, int(time.Since(d.started).Seconds())})
}

// publish sends one message; an eventType travels in the Sse-Event header.
func (d *demo) publish(ctx context.Context, subject, eventType string, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		return // the types above always marshal
	}
	var header map[string][]string
	if eventType != "" {
		header = map[string][]string{"Sse-Event": {eventType}}
	}
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	if _, err := d.nats.Publish(ctx, subject, header, body); err != nil && ctx.Err() == nil {
		d.log.Debug("the demo could not publish", "subject", subject, "error", err)
	}
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

func round(x float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(x*scale) / scale
}
