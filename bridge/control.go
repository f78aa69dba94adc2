package bridge

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"

	"github.com/nats-io/nats.go"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/control"
	"headgate/bridge/internal/jsapi"
	"headgate/internal/config"
	"headgate/internal/flow"
)

// Entry is a key of the bucket of revocations and what it holds.
type Entry = control.Entry

// Revocations hear what is in the bucket. They are called by one goroutine, and the bytes are not to be changed.
type Revocations = control.Listener

// Endpoint is one thing that operators can ask for over NATS.
type Endpoint = control.Endpoint

// Refusal is why an operator does not get it, in his words.
type Refusal = control.Refusal

// entryBytes is the memory for one revocation, by which AUTH_REVOCATION_ENTRIES becomes the share of the feed that reads them.
const entryBytes = 1 << 10

// Watch makes the bridge follow the bucket of revocations, if the configuration has one. It must be called before Run.
func (b *Bridge) Watch(c config.Config, to Revocations, log *slog.Logger) {
	if c.Auth.RevocationBucket == "" {
		return
	}
	b.watch = control.NewWatch(control.WatchConfig{API: jsapi.New(c.JetStream.Domain, c.JetStream.APIPrefix), Bucket: c.Auth.RevocationBucket,
		TTL: c.Auth.RevocationTTL, Share: int64(c.Auth.RevocationEntries)*entryBytes + 64<<10, Inbox: c.NATS.InboxPrefix,
		ConsumerPrefix: "headgate-" + strings.ToLower(rand.Text()[:8]) + "-ctl", Listener: to, Log: log})
}

// Serve makes the bridge offer the micro service headgate. It must be called before Run.
func (b *Bridge) Serve(c config.Config, instance, version string, endpoints []Endpoint, log *slog.Logger) {
	b.service = control.NewService(control.ServiceConfig{Prefix: c.ControlPrefix, Instance: instance, Version: version, Endpoints: endpoints, Log: log})
}

// Revoke writes a revocation into the bucket, from where every replica has it. The same request, by its id, is written once, whoever
// carries it out. It fails with flow.ErrMissing without a bucket, and with flow.ErrUnavailable.
func (b *Bridge) Revoke(ctx context.Context, key string, value []byte, id string) (revision uint64, err error) {
	if b.watch == nil {
		return 0, fmt.Errorf("bridge: %w: no AUTH_REVOCATION_BUCKET is set", flow.ErrMissing)
	}
	revision, err = b.watch.Put(ctx, key, value, id)
	if err != nil {
		return 0, fmt.Errorf("bridge: %w", b.ctl.conn.Redact(err))
	}
	return revision, nil
}

// guest is somebody else on the control connection.
type guest interface {
	Connected(nc *nats.Conn)
	Disconnected()
	Refused(op conn.Op, subject string)
	Run(ctx context.Context) error
}

// guests are those that there are.
func (b *Bridge) guests() (all []guest) {
	if b.watch != nil {
		all = append(all, b.watch)
	}
	if b.service != nil {
		all = append(all, b.service)
	}
	return all
}
