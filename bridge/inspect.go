package bridge

import (
	"context"
	"io"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/inspect"
	"headgate/internal/config"
)

// Inspection is what Inspect has found.
type Inspection struct{ report *inspect.Report }

// Inspect asks the NATS of a configuration whether its routes can work, with the configured credentials. It needs no running Bridge. The
// error is that NATS cannot be reached; it says what can be done. It ends within minutes, whatever NATS does.
func Inspect(ctx context.Context, c config.Config) (*Inspection, error) {
	opts, err := conn.Options(c.NATS)
	if err != nil {
		return nil, err
	}
	cfg := c.NATS
	if cfg.Name == "" {
		cfg.Name = "headgate"
	}
	what := inspect.Config{NATS: cfg, JetStream: c.JetStream, Options: opts, Routes: c.Routes, Bucket: c.Auth.RevocationBucket, BucketTTL: c.Auth.RevocationTTL}
	if c.Control {
		what.Control = c.ControlPrefix
	}
	r, err := inspect.Run(ctx, what)
	if err != nil {
		return nil, err
	}
	return &Inspection{r}, nil
}

// Failed says whether some route does not work.
func (i *Inspection) Failed() bool { return i.report.Failed() }

// WriteTo writes what was found, and the permissions that the NATS user needs, for people.
func (i *Inspection) WriteTo(w io.Writer) (int64, error) { return i.report.WriteTo(w) }
