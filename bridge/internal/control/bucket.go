package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/bridge/internal/conn"
	"headgate/bridge/internal/jsapi"
	"headgate/bridge/internal/kv"
	"headgate/internal/flow"
)

const (
	makeWait  = 3 * time.Second // for the bucket to be made; a cluster that has just begun does not answer at first
	askWait   = 5 * time.Second // for it to take a value
	markerTTL = time.Minute     // how long it stays written that a value has expired
	duplicate = 2 * time.Minute // how long a bucket knows the same request again
	replicas  = 3               // where the cluster has as many servers
	twiceWait = 50 * time.Millisecond
)

// The errors of nats-server that a smaller wish mends, and the one that says that there is one already.
const (
	codeNameInUse = 10058 // JSStreamNameExistErr
	codeNoCluster = 10074 // JSStreamReplicasNotSupportedErr
	codeNoPeers   = 10005 // JSClusterNoPeersErrF
	codeTwice     = 10158 // JSStreamDuplicateMessageConflict: another replica is writing it
)

// createBucket makes a bucket, if it is missing. One that is there is left as it is. Values leave a marker when they expire, where the
// server knows such, so that everybody hears of it.
func createBucket(ctx context.Context, api jsapi.API, nc *nats.Conn, bucket string, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, makeWait)
	defer cancel()
	name := kv.Stream(bucket)
	if _, err := api.Info(ctx, nc, name); !errors.Is(err, jsapi.ErrNoStream) {
		return err
	}
	// As nats.go makes a bucket (ADR-8 of nats-architecture-and-design).
	c := jetstream.StreamConfig{Name: name, Description: "revocations of headgate", Subjects: []string{kv.Subject(bucket, ">")}, MaxMsgsPerSubject: 1,
		MaxAge: ttl, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew, Duplicates: min(duplicate, ttl), AllowRollup: true,
		DenyDelete: true, AllowDirect: true, Replicas: replicas, AllowMsgTTL: true, SubjectDeleteMarkerTTL: markerTTL, MaxConsumers: -1,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1}
	err := api.CreateStream(ctx, nc, c)
	if code(err) == codeNoCluster || code(err) == codeNoPeers {
		c.Replicas = 1
		err = api.CreateStream(ctx, nc, c)
	}
	if code(err) == codeNameInUse {
		return nil // another replica was quicker
	}
	return err
}

func code(err error) jetstream.ErrorCode {
	var refused *jetstream.APIError
	if errors.As(err, &refused) {
		return refused.ErrorCode
	}
	return 0
}

// Put writes a value. The same request, by its id, is written once, however many replicas carry it out. The error says what an operator
// can do.
func (w *Watch) Put(ctx context.Context, key string, value []byte, id string) (revision uint64, err error) {
	m := nats.NewMsg(kv.Subject(w.cfg.Bucket, key))
	if p := w.cfg.API.Subject(); p != jsapi.New("", "").Subject() {
		m.Subject = p + m.Subject // a bucket of another domain or account is written to through its API, as nats.go does it
	}
	m.Data = value
	if id != "" {
		m.Header.Set(nats.MsgIdHdr, id)
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	for {
		revision, err = w.put(ctx, m)
		if code(err) != codeTwice {
			return revision, err
		}
		select {
		case <-ctx.Done():
			return 0, err
		case <-time.After(twiceWait):
		}
	}
}

func (w *Watch) put(ctx context.Context, m *nats.Msg) (revision uint64, err error) {
	w.mu.Lock()
	nc := w.nc
	w.mu.Unlock()
	if nc == nil {
		return 0, flow.ErrUnavailable
	}
	answer, err := nc.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return 0, fmt.Errorf("the bucket %s does not exist: %w", w.cfg.Bucket, flow.ErrMissing)
	case conn.IsAway(err):
		return 0, flow.ErrUnavailable
	case err != nil:
		return 0, fmt.Errorf("the bucket %s did not take it, or the NATS user may not publish to %s: %w", w.cfg.Bucket, m.Subject, err)
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	if err := json.Unmarshal(answer.Data, &ack); err != nil {
		return 0, fmt.Errorf("the bucket %s: %w", w.cfg.Bucket, err)
	}
	if ack.Error != nil {
		return 0, fmt.Errorf("the bucket %s: %w", w.cfg.Bucket, ack.Error)
	}
	return ack.Seq, nil
}
