// The shop: it makes the stream ORDERS, where there is none, and stores orders in it. It knows of no browser.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	count := flag.Int("count", 5, "how many orders")
	region := flag.String("region", "eu", "")
	flag.Parse()
	if err := run(*region, *count); err != nil {
		log.Fatal(err)
	}
}

func run(region string, count int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"},
		MaxAge: 24 * time.Hour, AllowDirect: true})
	if err != nil {
		return err
	}
	customers := []string{"acme", "globex", "hooli"}
	next := stream.CachedInfo().State.LastSeq + 1
	for n := next; n < next+uint64(count); n++ {
		customer := customers[n%uint64(len(customers))]
		order := fmt.Sprintf(`{"number": %d, "customer": %q, "total": %d.50}`, n, customer, 10*n)
		if _, err := js.Publish(ctx, "orders."+region+"."+customer, []byte(order)); err != nil {
			return err
		}
		fmt.Println("stored", order)
	}
	return nil
}
