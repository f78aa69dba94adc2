// Package proxies_test reads the files of deploy/proxies that no test runs a proxy with.
package proxies_test

import (
	"os"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

func envoyFile(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../proxies/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parsed reads a bootstrap file as Envoy does: YAML by way of JSON into its own messages, unknown fields refused.
func parsed(text string) (*bootstrapv3.Bootstrap, error) {
	asJSON, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil, err
	}
	b := &bootstrapv3.Bootstrap{}
	return b, protojson.Unmarshal(asJSON, b)
}

// judge validates a message and all that is wrapped in it, by Envoy's own rules. It counts what it has seen.
func judge(m proto.Message, bad func(string, error)) (seen int) {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		seen++
		if err := v.ValidateAll(); err != nil {
			bad(string(m.ProtoReflect().Descriptor().FullName()), err)
		}
	}
	if a, ok := m.(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			bad(a.TypeUrl, err)
			return seen
		}
		return seen + judge(inner, bad)
	}
	within := func(v protoreflect.Value) { seen += judge(v.Message().Interface(), bad) }
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { within(v); return true })
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				within(v.List().Get(i))
			}
		default:
			within(v)
		}
		return true
	})
	return seen
}

func TestEnvoy_ReadsTheFile(t *testing.T) {
	b, err := parsed(envoyFile(t))
	if err != nil {
		t.Fatal(err)
	}
	if seen := judge(b, func(name string, err error) { t.Errorf("%s: %v", name, err) }); seen < 30 {
		t.Errorf("only %d messages were looked at", seen)
	}
}

// What is wrong is found: a field that there is not, and a value that a rule forbids, in what is wrapped too.
func TestEnvoy_FindsWhatIsWrong(t *testing.T) {
	for old, broken := range map[string]string{"stream_idle_timeout": "stream_idle_time", "stat_prefix: ": "stat_prefix: ''   # "} {
		text := envoyFile(t)
		if !strings.Contains(text, old) {
			t.Fatalf("no %s in the file", old)
		}
		b, err := parsed(strings.Replace(text, old, broken, 1))
		if err == nil {
			judge(b, func(_ string, e error) { err = e })
		}
		if err == nil {
			t.Errorf("%s is not found", broken)
		}
	}
}
