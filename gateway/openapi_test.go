package gateway_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/sse"
)

var update = flag.Bool("update", false, "write the generated files anew")

const openapiFile = "../docs/openapi.json"

// example is a server with the routes of the example in docs/configuration.md.
func example(t *testing.T) *rig {
	t.Helper()
	cfg, _, err := config.Load(config.Options{Environ: []string{"AUTH_MODE=jwt", "AUTH_ISSUER=https://issuer.example", "AUTH_AUDIENCE=headgate",
		"AUTH_JWKS_URL=https://issuer.example/jwks.json", "AUTH_COOKIE=__Host-session", "ROUTES_FILE=../internal/config/testdata/example.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Shutdown.Delay, cfg.Shutdown.Drain = 0, 0
	return start(t, withIdentity(t, auth.Grants{}), func(s *setup) { s.cfg = cfg })
}

func TestOpenAPI_TheFileInTheDocsIsThatOfTheExample(t *testing.T) {
	text := example(t).server.OpenAPI("unreleased")
	if *update {
		if err := os.WriteFile(openapiFile, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if old, err := os.ReadFile(openapiFile); err != nil || !bytes.Equal(old, text) {
		t.Fatalf("%s is stale (%v); run: go test ./gateway -run OpenAPI -update", openapiFile, err)
	}
}

// description is a parsed OpenAPI document.
type description struct {
	Paths      map[string]map[string]json.RawMessage
	Components map[string]map[string]json.RawMessage
}

type operation struct {
	OperationID string
	Responses   map[string]answer
	Security    []map[string][]string
}

type answer struct {
	Ref     string `json:"$ref"`
	Content map[string]struct {
		Schema struct {
			AllOf []struct {
				Properties struct{ Type struct{ Enum []string } }
			}
		}
		ItemSchema struct{ AnyOf []json.RawMessage }
	}
}

func parse[T any](t testing.TB, text []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// find is the operation that describes a request, nil for a path or method that is not described.
func (d description) find(t testing.TB, method, path string) *operation {
	best, found := "", json.RawMessage(nil)
	for template, item := range d.Paths {
		pattern := regexp.MustCompile(`\\\{[^/]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), "[^/]+")
		op := item[strings.ToLower(method)]
		if op != nil && regexp.MustCompile("^"+pattern+"$").MatchString(path) && (found == nil || strings.Count(template, "{") < strings.Count(best, "{")) {
			best, found = template, op
		}
	}
	if found == nil {
		return nil
	}
	op := parse[operation](t, found)
	return &op
}

// described holds an answer against the description of its path. Every answer that a test of this package reads comes by here.
func (r *rig) described(req *http.Request, resp response) {
	r.t.Helper()
	d := parse[description](r.t, r.server.OpenAPI("test"))
	op := d.find(r.t, req.Method, req.URL.EscapedPath())
	if op == nil || req.Method == http.MethodHead && resp.StatusCode != http.StatusOK {
		return
	}
	found, ok := op.Responses[strconv.Itoa(resp.StatusCode)]
	if !ok {
		r.t.Errorf("%s %s: the description has no status %d: %s", req.Method, req.URL.Path, resp.StatusCode, resp.body)
		return
	}
	if name, shared := strings.CutPrefix(found.Ref, "#/components/responses/"); shared {
		found = parse[answer](r.t, d.Components["responses"][name])
	}
	contentType := resp.Header.Get("Content-Type")
	content, ok := found.Content[contentType]
	if !ok && resp.body != "" {
		r.t.Errorf("%s %s: the description has no %s with status %d", req.Method, req.URL.Path, contentType, resp.StatusCode)
	}
	if contentType != "application/problem+json" || !ok || resp.body == "" {
		return
	}
	var types []string
	for _, part := range content.Schema.AllOf {
		types = append(types, part.Properties.Type.Enum...)
	}
	if problem := parse[struct{ Type string }](r.t, []byte(resp.body)); !slices.Contains(types, problem.Type) {
		r.t.Errorf("%s %s: the description does not have %s", req.Method, req.URL.Path, problem.Type)
	}
}

// item is a block of a stream, as the description has it.
type item struct {
	Ref        string `json:"$ref"`
	Properties struct {
		Event struct{ Const string }
		Data  struct {
			ContentSchema struct {
				Required   []string
				Properties map[string]struct{ Enum []string }
			}
		}
	}
}

// describedItems holds headgate's own events on a stream against the itemSchema of its path: the type, the members of the data, and
// their words. Those of messages are what the tests make up.
func (r *rig) describedItems(req *http.Request) func(sse.Event) {
	if r.server == nil {
		return func(sse.Event) {} // a world of several parts that only borrows the client
	}
	d := parse[description](r.t, r.server.OpenAPI("test"))
	op := d.find(r.t, req.Method, req.URL.EscapedPath())
	if op == nil {
		r.t.Errorf("%s is not described", req.URL.Path)
		return func(sse.Event) {}
	}
	known := map[string]item{}
	for _, raw := range op.Responses["200"].Content["text/event-stream"].ItemSchema.AnyOf {
		i := parse[item](r.t, raw)
		if name, shared := strings.CutPrefix(i.Ref, "#/components/schemas/"); shared {
			i = parse[item](r.t, d.Components["schemas"][name])
		}
		known[i.Properties.Event.Const] = i
	}
	return func(e sse.Event) {
		if !strings.HasPrefix(e.Type, "$") {
			return
		}
		i, ok := known[e.Type]
		data := parse[map[string]any](r.t, []byte(e.Data))
		schema := i.Properties.Data.ContentSchema
		for name, value := range data {
			if p, there := schema.Properties[name]; !there {
				ok = false
			} else if word, text := value.(string); text && p.Enum != nil && !slices.Contains(p.Enum, word) {
				ok = false
			}
		}
		for _, name := range schema.Required {
			if _, there := data[name]; !there {
				ok = false
			}
		}
		if !ok {
			r.t.Errorf("%s: the description does not have %s %s", req.URL.Path, e.Type, e.Data)
		}
	}
}

func TestOpenAPI_EveryRouteIsThereAndEveryReferenceLeadsSomewhere(t *testing.T) {
	r := example(t)
	text := r.server.OpenAPI("x")
	d := parse[description](t, text)
	for _, m := range regexp.MustCompile(`"\$ref": "#/components/([a-z]+)/([A-Za-z0-9.]+)"`).FindAllSubmatch(text, -1) {
		if d.Components[string(m[1])][string(m[2])] == nil {
			t.Errorf("%s leads nowhere", m[0])
		}
	}
	ids := map[string]bool{}
	for _, route := range r.cfg.Routes {
		for method, want := range map[string]bool{"get": len(route.Sources) > 0, "head": len(route.Sources) > 0, "post": route.Publish != nil} {
			raw := d.Paths[route.Path][method]
			if (raw != nil) != want {
				t.Errorf("%s %s: %s", method, route.Path, raw)
				continue
			} else if !want {
				continue
			}
			op := parse[operation](t, raw)
			if op.OperationID == "" || ids[op.OperationID] {
				t.Errorf("the operation %q is there twice", op.OperationID)
			}
			ids[op.OperationID] = true
			if open := slices.ContainsFunc(op.Security, func(s map[string][]string) bool { return len(s) == 0 }); open == route.AuthRequired || op.Security[0]["bearer"] == nil || op.Security[1]["cookie"] == nil {
				t.Errorf("%s %s: %v", method, route.Path, op.Security)
			}
			if method == "get" && len(op.Responses["200"].Content["text/event-stream"].ItemSchema.AnyOf) < 5 {
				t.Errorf("%s: no items", route.Path)
			}
			if _, ends := op.Responses["204"]; method == "get" && ends != (route.End.Field != "") {
				t.Errorf("%s: 204", route.Path)
			}
		}
		var parameters []struct{ Name string }
		if raw := d.Paths[route.Path]["parameters"]; raw != nil {
			parameters = parse[[]struct{ Name string }](t, raw)
		}
		if len(parameters) != strings.Count(route.Path, "{") {
			t.Errorf("%s: %v", route.Path, parameters)
		}
	}
	if len(ids) < 19 {
		t.Errorf("%d operations", len(ids))
	}
}

// Every refusal there is belongs to some operation, and every word of a gap and of an end is in its schema.
func TestOpenAPI_HasEveryRefusal(t *testing.T) {
	text := string(example(t).server.OpenAPI("x"))
	for _, p := range gateway.Problems() {
		if p.Slug != "host-not-allowed" && p.Slug != "kicked" && !strings.Contains(text, `"urn:headgate:problem:`+p.Slug+`"`) {
			t.Errorf("%s is missing", p.Slug)
		}
	}
	if !strings.Contains(text, `"put",`) || !strings.Contains(text, `"const": "com.example.shipment"`) || !strings.Contains(text, `"contentMediaType": "application/cloudevents+json"`) {
		t.Error("the events of a bucket, or the CloudEvents, are missing")
	}
	dev := string(start(t, func(s *setup) { s.cfg.Dev = true }).server.OpenAPI("x"))
	if !strings.Contains(dev, "host-not-allowed") || strings.Contains(dev, "token-missing") || strings.Contains(text, "ORDERS") || strings.Contains(text, "prices.{symbol}") {
		t.Error("refusals that do not belong there, or what is nobody's business")
	}
}

func TestOpenAPI_PatternsThatOnlyRE2ReadsAreGivenInWords(t *testing.T) {
	route := prices()
	route.Params = map[string]string{"symbol": "(?i)[a-z]+"}
	text := string(start(t, withRoutes(route)).server.OpenAPI("x"))
	if !strings.Contains(text, `The whole value matches (?i)[a-z]+ (RE2).`) {
		t.Error(text)
	}
	route.Params["symbol"] = "[A-Z]{1,6}"
	if text := string(start(t, withRoutes(route)).server.OpenAPI("x")); !strings.Contains(text, `"pattern": "^(?:[A-Z]{1,6})$"`) {
		t.Error(text)
	}
}
