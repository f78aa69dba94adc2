package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"headgate/internal/devnats"
)

// What the demo stores in the embedded NATS, and the routes orders, flags and job read.
const (
	demoOrders = "DEMO_ORDERS"
	demoFlags  = "DEMO_FLAGS"
	demoJobs   = "DEMO_JOBS"

	demoJobStep = 4 // percent a second
)

// demoKeys are the flags that are switched on and off.
var demoKeys = []string{"prod.dark-mode", "prod.new-checkout", "staging.dark-mode", "staging.beta-search"}

// bucket is what the demo needs of a Key-Value bucket.
type bucket interface {
	Put(ctx context.Context, bucket, key string, value []byte) error
	Delete(ctx context.Context, bucket, key string) error
}

// stored is what the demo knows of what it has stored.
type stored struct {
	values  bucket         // nil: NATS is not ours to make streams in
	orders  map[string]int // region -> its last order; without a hole, so that a hole on a page is one of ours
	flags   map[string]bool
	job     int
	percent int
}

type (
	regionOrder struct {
		Order    int     `json:"order"` // counts up in each region
		Customer string  `json:"customer"`
		Total    float64 `json:"total"`
	}
	progress struct {
		Job     int    `json:"job"`
		Percent int    `json:"percent"`
		Status  string `json:"status"`
	}
)

func newStored(values bucket) stored {
	return stored{values: values, orders: map[string]int{}, flags: map[string]bool{}, job: 1}
}

// provide makes the demo's streams and bucket.
func provide(ctx context.Context, nats *devnats.Server) (*devnats.Store, error) {
	s, err := nats.Store()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, make := range []func() error{
		func() error { return s.Stream(ctx, demoOrders, "demo.orders.>") },
		func() error { return s.Stream(ctx, demoJobs, "demo.jobs.>") },
		func() error { return s.Bucket(ctx, demoFlags) },
	} {
		if err := make(); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// store is the part of a round that is kept by NATS: an order each time, a flag and a job's progress every so often.
func (d *demo) store(ctx context.Context) {
	if d.rounds == 1 {
		for _, flag := range demoKeys {
			d.flag(ctx, flag)
		}
	}
	d.order(ctx, []string{"eu", "us"}[d.rounds%2])
	if d.rounds%16 == 0 {
		d.flag(ctx, demoKeys[rand.IntN(len(demoKeys))])
	}
	switch d.rounds % 80 {
	case 20:
		d.flag(ctx, "prod.banner")
	case 60:
		d.unflag(ctx, "prod.banner") // a key that goes, so that a page must forget it
	}
	if d.rounds%4 == 0 {
		d.work(ctx)
	}
}

func (d *demo) order(ctx context.Context, region string) {
	d.stored.orders[region]++
	customer := []string{"acme", "globex", "hooli", "umbra"}[rand.IntN(4)]
	d.publish(ctx, fmt.Sprintf("demo.orders.%s.%s", region, customer), "",
		regionOrder{d.stored.orders[region], customer, round(5+rand.Float64()*200, 2)})
}

// flag switches a flag, on at first.
func (d *demo) flag(ctx context.Context, key string) {
	d.stored.flags[key] = !d.stored.flags[key]
	value, _ := json.Marshal(d.stored.flags[key])
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	if err := d.stored.values.Put(ctx, demoFlags, key, value); err != nil && ctx.Err() == nil {
		d.log.Debug("the demo could not switch a flag", "key", key, "error", err)
	}
}

func (d *demo) unflag(ctx context.Context, key string) {
	delete(d.stored.flags, key)
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	if err := d.stored.values.Delete(ctx, demoFlags, key); err != nil && ctx.Err() == nil {
		d.log.Debug("the demo could not delete a flag", "key", key, "error", err)
	}
}

// work brings the job on, and after its end begins the next one.
func (d *demo) work(ctx context.Context) {
	s := &d.stored
	s.percent = min(100, s.percent+demoJobStep)
	status := "running"
	if s.percent == 100 {
		status = "done"
	}
	d.publish(ctx, fmt.Sprintf("demo.jobs.%d", s.job), "", progress{s.job, s.percent, status})
	if s.percent == 100 {
		s.job, s.percent = s.job+1, 0
	}
}
