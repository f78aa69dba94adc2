package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/time/rate"

	"headgate/bridge/internal/conn"
)

// ServiceName is what nats micro ls shows.
const ServiceName = "headgate"

const (
	maxRequest = 64 << 10  // bytes of a request that are looked at
	maxAnswer  = 512 << 10 // bytes of an answer, or what the server takes, if that is less
	reserve    = 4 << 10   // of what the server takes, for headers
	offerAgain = 5 * time.Second
)

// Endpoint is one thing that operators can ask for.
type Endpoint struct {
	Name string
	Doc  string
	// Everybody makes all replicas answer, each for itself; else one of them does it for all.
	Everybody bool
	// Answer answers a request, with room bytes at most. id tells the request from others; the same one comes to all replicas. It is called
	// by a goroutine of nats.go, one request at a time, and its context ends with the process.
	Answer func(ctx context.Context, id string, request []byte, room int) ([]byte, error)
}

// Refusal is an error that the operator can mend. Any other error is ours.
type Refusal struct {
	Code string // as of HTTP
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// ServiceConfig is what a Service needs.
type ServiceConfig struct {
	Prefix    string
	Instance  string // the name of this replica
	Version   string
	Endpoints []Endpoint
	Log       *slog.Logger
}

// Service is the micro service. Every endpoint is at <prefix>.<name>, and of this replica alone at <prefix>.<instance>.<name>.
type Service struct {
	// fixed after NewService
	cfg  ServiceConfig
	wake chan struct{}

	seldom rate.Sometimes // safe for everyone

	mu sync.Mutex
	nc *nats.Conn // nil while it is away
}

var semantic = regexp.MustCompile(`^\d+\.\d+\.\d+`)

// NewService does no I/O; Run serves.
func NewService(cfg ServiceConfig) *Service {
	cfg.Version = semantic.FindString(strings.TrimPrefix(cfg.Version, "v"))
	if cfg.Version == "" {
		cfg.Version = "0.0.0" // of a build that nobody has numbered
	}
	return &Service{cfg: cfg, wake: make(chan struct{}, 1), seldom: rate.Sometimes{Interval: 10 * time.Second}}
}

// Connected is called by the owner of the connection, as Disconnected and Refused.
func (s *Service) Connected(nc *nats.Conn) { s.set(nc) }

// Disconnected: nats.go subscribes again by itself.
func (s *Service) Disconnected() { s.set(nil) }

// Refused hears of what the server refuses.
func (s *Service) Refused(op conn.Op, subj string) {
	if op == conn.Subscribe && subj != "" {
		s.cfg.Log.Warn("NATS refuses what headgate needs for its control service", "subject", subj,
			"remedy", "allow the NATS user what headgate -check -online prints, or set CONTROL=false")
	}
}

func (s *Service) set(nc *nats.Conn) {
	s.mu.Lock()
	s.nc = nc
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var on *nats.Conn // whose service it is; one whose connection was closed has ended by itself
	var service micro.Service
	defer func() {
		if service != nil {
			_ = service.Stop() // fails when the connection is closed, and then it has ended
		}
	}()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-again.C:
		}
		s.mu.Lock()
		nc := s.nc
		s.mu.Unlock()
		if nc == nil || nc == on {
			continue
		}
		added, err := s.add(ctx, nc)
		if err != nil {
			if nc.IsConnected() {
				s.cfg.Log.Error("the control service cannot be offered; headgate tries again", "error", err, "after", offerAgain)
			}
			again.Reset(offerAgain)
			continue
		}
		service, on = added, nc
	}
}

func (s *Service) add(ctx context.Context, nc *nats.Conn) (micro.Service, error) {
	service, err := micro.AddService(nc, micro.Config{Name: ServiceName, Version: s.cfg.Version, Description: "SSE gateway for NATS",
		Metadata: map[string]string{"instance": s.cfg.Instance}})
	if err != nil {
		return nil, err
	}
	for _, e := range s.cfg.Endpoints {
		handler := s.handler(ctx, nc, e)
		about := micro.WithEndpointMetadata(map[string]string{"description": e.Doc})
		kind := micro.WithEndpointQueueGroup(ServiceName)
		if e.Everybody {
			kind = micro.WithEndpointQueueGroupDisabled()
		}
		err = errors.Join(service.AddGroup(s.cfg.Prefix).AddEndpoint(e.Name, handler, kind, about),
			service.AddGroup(s.cfg.Prefix+"."+s.cfg.Instance).AddEndpoint(e.Name, handler, micro.WithEndpointQueueGroupDisabled(), about))
		if err != nil {
			_ = service.Stop()
			return nil, err
		}
	}
	return service, nil
}

// inbox says whether a subject is one where answers are waited for: _INBOX.…, what NATS makes of those between accounts (_R_.…), or a prefix of
// somebody's own that begins so. Whoever asks chooses it, and may not publish everywhere where headgate may: an answer to NATS's own
// subjects can be an order, and one among messages a forgery.
func (s *Service) inbox(subj string) bool {
	return strings.HasPrefix(subj, "_") && !strings.HasPrefix(subj, s.cfg.Prefix+".")
}

// handler answers the requests for one endpoint. One that wants its answer where none is waited for is not carried out.
func (s *Service) handler(ctx context.Context, nc *nats.Conn, e Endpoint) micro.HandlerFunc {
	return func(r micro.Request) {
		if reply := r.Reply(); reply != "" && !s.inbox(reply) {
			s.seldom.Do(func() {
				s.cfg.Log.Warn("a control request wants its answer at a subject that is no inbox; it was not carried out", "endpoint", e.Name,
					"remedy", "inboxes begin with _, as _INBOX does; look who may publish to "+s.cfg.Prefix+".>")
			})
			return
		}
		answer, err := s.answer(ctx, nc, e, r)
		var refused *Refusal
		switch {
		case err == nil:
			err = r.Respond(answer)
		case errors.As(err, &refused):
			err = r.Error(refused.Code, refused.Text, nil)
		default:
			s.cfg.Log.Error("a control request has failed", "endpoint", e.Name, "error", err)
			err = r.Error("500", "headgate could not do it; its log says why", nil)
		}
		if err != nil && !errors.Is(err, nats.ErrMsgNoReply) {
			s.cfg.Log.Debug("a control request was not answered", "endpoint", e.Name, "error", err)
		}
	}
}

func (s *Service) answer(ctx context.Context, nc *nats.Conn, e Endpoint, r micro.Request) (answer []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if n := len(r.Data()); n > maxRequest {
		return nil, &Refusal{"400", fmt.Sprintf("the request has %d bytes, at most %d are read", n, maxRequest)}
	}
	room := min(maxAnswer, int(nc.MaxPayload())-reserve)
	answer, err = e.Answer(ctx, r.Reply(), r.Data(), room)
	if err == nil && len(answer) > room {
		return nil, fmt.Errorf("an answer of %d bytes, for which there is no room", len(answer))
	}
	return answer, err
}
