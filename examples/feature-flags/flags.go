// Sets and removes feature flags: KEY=VALUE sets one, KEY= removes it. The bucket FLAGS is made where there is none.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(args []string) error {
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
	flags, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "FLAGS"})
	if err != nil {
		return err
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		switch {
		case !ok:
			return fmt.Errorf("%q is neither KEY=VALUE nor KEY=", arg)
		case value == "":
			err = flags.Delete(ctx, key)
		default:
			_, err = flags.PutString(ctx, key, value)
		}
		if err != nil {
			return err
		}
		fmt.Println(arg)
	}
	return nil
}
