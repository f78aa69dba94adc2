// Three services in one program: sales and support keep their figures in streams of their own, which they make where there are none;
// visitors are only said, and forgotten.
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
	rounds := flag.Int("rounds", 1, "how often each service says its figures")
	every := flag.Duration("every", time.Second, "how long a round takes")
	flag.Parse()
	if err := run(*rounds, *every); err != nil {
		log.Fatal(err)
	}
}

func run(rounds int, every time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rounds)*every+10*time.Second)
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
	var total uint64 // of everything that was ever stored, so that the figures go on where they were
	for name, subject := range map[string]string{"SALES": "sales.>", "SUPPORT": "support.>"} {
		stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true})
		if err != nil {
			return err
		}
		total += stream.CachedInfo().State.LastSeq
	}
	for round := range rounds {
		if round > 0 {
			time.Sleep(every)
		}
		n := int(total)/4 + round + 1
		for _, m := range []struct {
			subject string
			value   int
		}{{"sales.eu", 100 * n}, {"sales.us", 70 * n}, {"support.open", 20 - n%10}, {"support.solved", 5 * n}} {
			if _, err := js.Publish(ctx, m.subject, fmt.Append(nil, m.value)); err != nil {
				return err
			}
			fmt.Println(m.subject, m.value)
		}
		if err := nc.Publish("visitors.now", fmt.Append(nil, 400+n)); err != nil {
			return err
		}
		fmt.Println("visitors.now", 400+n)
	}
	return nc.Flush()
}
