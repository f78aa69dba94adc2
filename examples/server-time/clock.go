// A clock that ticks into the stream CLOCK, which it makes where there is none. The stream keeps the last message of each subject, so whoever
// connects has the welcome and the time at once.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	welcome := flag.String("welcome", "Welcome! The time is that of the server, to the second.", "what everybody reads first")
	ticks := flag.Int("ticks", 60, "how often it ticks")
	flag.Parse()
	if err := run(*welcome, *ticks); err != nil {
		log.Fatal(err)
	}
}

func run(welcome string, ticks int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(ticks)*time.Second+10*time.Second)
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
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "CLOCK", Subjects: []string{"clock.*"},
		MaxMsgsPerSubject: 1, AllowDirect: true})
	if err != nil {
		return err
	}
	if err := say(ctx, js, "clock.welcome", map[string]string{"text": welcome}); err != nil {
		return err
	}
	for range ticks {
		now := time.Now().UTC().Truncate(time.Second).Add(time.Second)
		time.Sleep(time.Until(now))
		if err := say(ctx, js, "clock.tick", map[string]time.Time{"time": now}); err != nil {
			return err
		}
		fmt.Println(now.Format(time.RFC3339))
	}
	return nil
}

func say(ctx context.Context, js jetstream.JetStream, subject string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = js.Publish(ctx, subject, text)
	return err
}
