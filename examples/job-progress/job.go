// A job that takes some seconds and reports its progress to the stream JOBS, which it makes where there is none.
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

const steps = 10

func main() {
	id := flag.String("id", "42", "which job")
	seconds := flag.Float64("seconds", 10, "how long it takes")
	fail := flag.Bool("fail", false, "fail half-way")
	flag.Parse()
	if err := run(*id, time.Duration(*seconds*float64(time.Second)), *fail); err != nil {
		log.Fatal(err)
	}
}

func run(id string, takes time.Duration, fail bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), takes+10*time.Second)
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
	_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"jobs.*"},
		MaxAge: 24 * time.Hour, AllowDirect: true})
	if err != nil {
		return err
	}
	for step := 0; step <= steps; step++ {
		status := "running"
		switch {
		case fail && step == steps/2:
			status = "failed"
		case step == steps:
			status = "done"
		}
		report := fmt.Sprintf(`{"percent": %d, "status": %q}`, 100*step/steps, status)
		if _, err := js.Publish(ctx, "jobs."+id, []byte(report)); err != nil {
			return err
		}
		fmt.Println("job", id, report)
		if status != "running" {
			return nil
		}
		time.Sleep(takes / steps)
	}
	return nil
}
