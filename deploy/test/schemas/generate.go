//go:build ignore

// Generate writes the JSON schemas that the chart's objects are held against, from the sources of Kubernetes, of the Gateway API and
// of the Prometheus operator: only the kinds that the chart makes, without descriptions, and strict. Run it in its directory.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// The versions; those of Kubernetes and of the CRDs are also what cluster.sh runs.
const (
	kubernetes = "k8s.io/kubernetes@v1.36.3"
	gateway    = "sigs.k8s.io/gateway-api@v1.6.3"
	operator   = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// kinds are the built-in ones, by apiVersion/kind.
var kinds = map[string]string{
	"v1/Service": "io.k8s.api.core.v1.Service", "v1/ConfigMap": "io.k8s.api.core.v1.ConfigMap", "v1/Pod": "io.k8s.api.core.v1.Pod",
	"v1/ServiceAccount": "io.k8s.api.core.v1.ServiceAccount", "apps/v1/Deployment": "io.k8s.api.apps.v1.Deployment",
	"networking.k8s.io/v1/Ingress": "io.k8s.api.networking.v1.Ingress", "networking.k8s.io/v1/NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
	"autoscaling/v2/HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
	"policy/v1/PodDisruptionBudget":          "io.k8s.api.policy.v1.PodDisruptionBudget",
}

var crds = map[string][]string{
	gateway:  {"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"},
	operator: {"monitoring.coreos.com_servicemonitors.yaml", "monitoring.coreos.com_podmonitors.yaml", "monitoring.coreos.com_prometheusrules.yaml"},
}

type object = map[string]any

func main() {
	out := object{"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": object{}}
	defs := out["$defs"].(object)
	builtin(defs)
	for module, files := range crds {
		for _, file := range files {
			if module == operator {
				file = "example/prometheus-operator-crd/" + file
			}
			crd(filepath.Join(dir(module), file), defs)
		}
	}
	text, err := json.Marshal(out)
	must(err)
	must(os.WriteFile("schemas.json", append(text, '\n'), 0o644))
	fmt.Printf("schemas.json: %d definitions, %d bytes\n", len(defs), len(text))
}

func builtin(defs object) {
	text, err := os.ReadFile(filepath.Join(dir(kubernetes), "api/openapi-spec/swagger.json"))
	must(err)
	var swagger struct{ Definitions map[string]object }
	must(json.Unmarshal(text, &swagger))
	var take func(name string)
	take = func(name string) {
		if _, there := defs[name]; there {
			return
		}
		d := swagger.Definitions[name]
		switch {
		case strings.HasSuffix(name, "util.intstr.IntOrString"):
			d = object{"type": []any{"string", "integer"}}
		case strings.HasSuffix(name, "api.resource.Quantity"):
			d = object{"type": []any{"string", "number"}}
		}
		defs[name] = strict(d, take)
	}
	for id, name := range kinds {
		take(name)
		defs[id] = object{"$ref": "#/$defs/" + name}
	}
}

func crd(file string, defs object) {
	text, err := os.ReadFile(file)
	must(err)
	var c struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema object }
			}
		}
	}
	must(yaml.Unmarshal(text, &c))
	for _, v := range c.Spec.Versions {
		s := v.Schema.OpenAPIV3Schema
		s["properties"].(object)["metadata"] = object{"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
		defs[c.Spec.Group+"/"+v.Name+"/"+c.Spec.Names.Kind] = strict(s, func(string) {})
	}
}

// strict drops what is only said to people, points references to $defs, and forbids unknown fields.
func strict(v any, take func(string)) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = strict(v[i], take)
		}
	case object:
		out := object{}
		for key, value := range v {
			switch {
			case key == "$ref":
				name := strings.TrimPrefix(value.(string), "#/definitions/")
				take(name)
				out[key] = "#/$defs/" + name
			case key == "properties":
				fields := object{}
				for name, field := range value.(object) {
					fields[name] = strict(field, take)
				}
				out[key] = fields
			case key == "description" || key == "example" || key == "format" || key == "default" || strings.HasPrefix(key, "x-kubernetes"):
			default:
				out[key] = strict(value, take)
			}
		}
		_, fields := out["properties"]
		_, more := out["additionalProperties"]
		if fields && !more && v["x-kubernetes-preserve-unknown-fields"] != true {
			out["additionalProperties"] = false
		}
		return out
	}
	return v
}

func dir(module string) string {
	cmd := exec.Command("go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir()
	text, err := cmd.Output()
	must(err)
	var m struct{ Dir string }
	must(json.Unmarshal(text, &m))
	return m.Dir
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
