package gateway_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
)

// nothing is a Delivery that takes nobody.
type nothing struct{}

func (nothing) Handover(net.Conn, delivery.Client) error { return net.ErrClosed }
func (nothing) Serve(<-chan struct{}, delivery.Writer, *delivery.Client) delivery.Reason {
	return delivery.Internal
}
func (nothing) EndWhere(func(uint64) bool, delivery.Reason, time.Duration) {}

func newServer(routes ...config.Route) error {
	cfg := config.DefaultConfig()
	cfg.Routes = routes
	_, err := gateway.New(gateway.Options{Config: cfg, Bridge: &bridge{}, Delivery: nothing{}, Limiter: &limiter{}})
	return err
}

func TestRoutes_ThatConflictAreNamedBoth(t *testing.T) {
	a, b := prices(), prices()
	a.Name, a.Path, a.Line = "first", "/v1/{x}/fixed", 10
	b.Name, b.Path, b.Line = "second", "/v1/fixed/{y}", 20
	a.Sources[0].Subject, b.Sources[0].Subject = "a.{x}", "b.{y}"
	other := prices()
	other.Name, other.Path, other.Sources[0].Subject = "other", "/other", "other"
	err := newServer(other, a, b)
	for _, want := range []string{`route "first" (line 10)`, `route "second" (line 20)`, "/v1/{x}/fixed", "/v1/fixed/{y}"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
	a.Path, b.Path = "/same", "/same"
	a.Sources[0].Subject, b.Sources[0].Subject = "a", "b"
	err = newServer(a, b)
	if err == nil || !strings.Contains(err.Error(), `"first"`) || !strings.Contains(err.Error(), `"second"`) {
		t.Errorf("two streams on one path: %v", err)
	}
}

func TestRoutes_AreRefusedWithTheirName(t *testing.T) {
	for name, change := range map[string]func(*config.Route){
		"neither a source nor": func(r *config.Route) { r.Sources = nil },
		"first token":          func(r *config.Route) { r.Sources[0].Subject = "{symbol}.x" },
		"first token must":     func(r *config.Route) { r.Sources[0].Subject = ">" },
		"no parameter {other}": func(r *config.Route) { r.Sources[0].Subject = "prices.{other}" },
		"{claims.sub}":         func(r *config.Route) { r.Sources[0].Subject = "prices.{claims.sub}" },
		"params.symbol":        func(r *config.Route) { r.Params = map[string]string{"symbol": "("} },
		"wildcards":            func(r *config.Route) { r.Publish = &config.Publish{Subject: "a.*"} },
		"only one source": func(r *config.Route) {
			s := config.Source{Type: "core", Allow: []string{"a.>"}}
			r.Sources = []config.Source{s, s}
		},
		"type \"jets\" is not": func(r *config.Route) { r.Sources[0].Type = "jets" },
		"which stream or":      func(r *config.Route) { r.Sources[0].Type = "stream" },
		"keys of a bucket": func(r *config.Route) {
			r.Sources[0] = config.Source{Type: "kv", Stream: "B", Allow: []string{"a"}}
		},
		"no parameter {env}": func(r *config.Route) { r.Sources[0] = config.Source{Type: "kv", Stream: "B", Subject: "{env}.>"} },
		"key \"a:b\"":        func(r *config.Route) { r.Sources[0] = config.Source{Type: "kv", Stream: "B", Subject: "a:b"} },
		"allow":              func(r *config.Route) { r.Sources[0].Allow = []string{"a..b"} },
		"/v1/{broken":        func(r *config.Route) { r.Path, r.Sources[0].Subject = "/v1/{broken", "a" },
	} {
		route := prices()
		change(&route)
		err := newServer(route)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), `route "prices"`) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestRoutes_AllAtFaultAreReportedAtOnce(t *testing.T) {
	a, b := prices(), feed()
	a.Sources, b.Sources = nil, nil
	err := newServer(a, b)
	if err == nil || !strings.Contains(err.Error(), `"prices"`) || !strings.Contains(err.Error(), `"feed"`) {
		t.Errorf("error %v", err)
	}
}

func TestRoutes_BelowABasePath(t *testing.T) {
	for _, base := range []string{"/edge", "/edge/", "edge"} {
		r := start(t, func(s *setup) { s.cfg.HTTP.BasePath = base })
		r.open("/edge/v1/prices/ACME").want("$ready")
		r.get("/v1/prices/ACME").problem(t, 404, "not-found")
	}
}

func TestFormatAndSources_ComeFromTheRoute(t *testing.T) {
	route := prices()
	route.Event, route.Data, route.Envelope, route.Headers = "{subject[2]}", "json", "headgate", []string{"A", "B"}
	route.Sources = append(route.Sources, config.Source{Name: "more", Type: "core", Subject: "more.*.{symbol}.>"})
	r := start(t, withRoutes(route))
	r.open("/v1/prices/ACME").want("$ready")
	req := r.bridge.opens()[0]
	f := req.Format
	if f.Event != "" || f.Token != 2 || f.Data != "json" || f.Envelope != "headgate" || f.Headers != "A,B" || f.MaxBytes != 1<<20 || !f.IDs {
		t.Errorf("format %+v", f)
	}
	if len(req.Sources) != 2 || req.Sources[1].Name != "more" || req.Sources[1].Subjects[0] != "more.*.ACME.>" ||
		req.Sources[0].RingSize != 64 || req.Sources[0].RingAge != time.Minute {
		t.Errorf("sources %+v", req.Sources)
	}
}

func TestFormat_KeepsAFixedEventType(t *testing.T) {
	route := prices()
	route.Event = "price"
	r := start(t, withRoutes(route))
	r.open("/v1/prices/ACME").want("$ready")
	if f := r.bridge.opens()[0].Format; f.Event != "price" || f.Token != -1 {
		t.Errorf("format %+v", f)
	}
}
