// Services that log into the stream LOGS, which is made where there is none: one line after the other, of the services in turn.
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

var (
	services = []string{"api", "billing"}
	levels   = []string{"info", "debug", "warn", "info", "debug", "error"}
	texts    = map[string]string{"debug": "cache miss", "info": "request served", "warn": "slow query", "error": "upstream refused"}
)

func main() {
	count := flag.Int("count", 12, "how many lines")
	every := flag.Duration("every", 0, "time between two lines")
	flag.Parse()
	if err := run(*count, *every); err != nil {
		log.Fatal(err)
	}
}

func run(count int, every time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(count)*every+10*time.Second)
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
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "LOGS", Subjects: []string{"logs.*.*"},
		MaxAge: 24 * time.Hour, AllowDirect: true})
	if err != nil {
		return err
	}
	for first := int(stream.CachedInfo().State.LastSeq); count > 0; count-- {
		n := first
		first++
		service, level := services[n%len(services)], levels[n%len(levels)]
		line, err := json.Marshal(map[string]any{"line": n + 1, "text": texts[level]})
		if err != nil {
			return err
		}
		if _, err := js.Publish(ctx, "logs."+service+"."+level, line); err != nil {
			return err
		}
		fmt.Println(service, level, string(line))
		time.Sleep(every)
	}
	return nil
}
