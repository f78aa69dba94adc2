package deploy_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestValues_WhatCanOnlyGoWrongIsRefusedWithARemedy(t *testing.T) {
	const none = "auth.mode=none"
	for _, c := range []struct {
		set  []string
		want []string
	}{
		{nil, []string{"auth.mode must be said", "--set auth.mode=none"}},
		{[]string{"auth.mode=nome"}, []string{"auth/mode", "'none', 'jwt'"}},
		{[]string{none, "replicas=3"}, []string{"additional properties 'replicas' not allowed"}},
		{[]string{none, "drain.drain=3"}, []string{"/drain", "additional properties 'drain'"}},
		{[]string{none, "service.port=70000"}, []string{"/service/port", "65,535"}},
		{[]string{none, "config.sse_heartbeat=5s"}, []string{"invalid propertyName 'sse_heartbeat'"}},
		{[]string{none, "config.HTTP_ADDR=:80"}, []string{"config.HTTP_ADDR", "http.port"}},
		{[]string{none, "config.NATS_PASSWORD=x"}, []string{"config.NATS_PASSWORD", "nats.passwordSecret"}},
		{[]string{none, "config.SHUTDOWN_TIMEOUT=9s"}, []string{"drain.drainSeconds"}},
		{[]string{none, "nats.url=nats://u:p@nats:4222"}, []string{"nats.url has a user or password", "Secret"}},
		{[]string{none, "nats.user=u"}, []string{"nats.user and nats.passwordSecret.name belong together"}},
		{[]string{none, "nats.credsSecret.name=a", "nats.tokenSecret.name=b"}, []string{"at most one"}},
		{[]string{none, "routes.text=x", "routes.existingConfigMap=y"}, []string{"at most one of file, text and existingConfigMap"}},
		{[]string{none, "httpRoute.enabled=true"}, []string{"httpRoute.parentRefs is empty"}},
		{[]string{none, "ingress.enabled=true"}, []string{"ingress.hosts is empty"}},
		{[]string{none, "http.extraPorts={8080}"}, []string{"must all be different"}},
		{[]string{none, "http.extraPorts={80}"}, []string{"service.port is one of http.extraPorts"}},
		{[]string{none, "resources.limits.memory=1Qi"}, []string{"resources.limits.memory=1Qi", "goMemLimitPercent"}},
		{[]string{none, "autoscaling.enabled=true", "autoscaling.streams=0", "autoscaling.cpu=0"}, []string{"nothing to scale by"}},
		{[]string{none, "autoscaling.enabled=true", "autoscaling.minReplicas=5", "autoscaling.maxReplicas=3"}, []string{"minReplicas=5 is more than maxReplicas=3"}},
		{[]string{none, "files[0].env=A_FILE", "files[0].key=k"}, []string{"A_FILE needs either secret or configMap"}},
		{[]string{none, "files[0].env=A_FILE", "files[0].key=k", "files[0].secret=a.b", "files[1].env=B_FILE", "files[1].key=k", "files[1].secret=a-b"}, []string{"a.b and a-b would be one volume, secret-a-b"}},
		{[]string{none, "files[0].env=NATS_CREDS_FILE", "files[0].key=k", "files[0].secret=s"}, []string{"nats.credsSecret"}},
	} {
		var args []string
		for _, s := range c.set {
			args = append(args, "--set", s)
		}
		out, err := template(t, args...)
		if err == nil {
			t.Errorf("%v is accepted", c.set)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: %q is missing in %s", c.set, want, out)
			}
		}
	}
}

// Every value has a place in the schema, and every place in the schema a value with a word about it.
func TestValues_TheSchemaHasWhatTheValuesHave(t *testing.T) {
	var values, schema object
	if err := yaml.UnmarshalStrict([]byte(read(t, chart+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(read(t, chart+"/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	var walk func(path string, values, schema object)
	walk = func(path string, values, schema object) {
		properties, strict := schema["properties"].(object)
		if !strict {
			return
		}
		if schema["additionalProperties"] != false {
			t.Errorf("%s: the schema lets everything else through", path)
		}
		for name, value := range values {
			below, ok := properties[name].(object)
			if !ok {
				t.Errorf("%s.%s is not in the schema", path, name)
				continue
			}
			if m, ok := value.(object); ok {
				walk(path+"."+name, m, below)
			}
		}
		for name := range properties {
			if _, ok := values[name]; !ok && name != "global" && !strings.HasSuffix(path, "robe") && path != ".resources" {
				t.Errorf("%s.%s is in the schema, but values.yaml does not have it", path, name)
			}
		}
	}
	walk("", values, schema)
}

// A value that no template uses is a promise that nobody keeps.
func TestValues_EveryValueIsUsed(t *testing.T) {
	var values object
	if err := yaml.Unmarshal([]byte(read(t, chart+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`[$.][a-zA-Z.0-9]+`)
	var words []string
	for _, o := range templates(t) {
		for _, use := range used.FindAllString(o, -1) {
			words = append(words, strings.Split(use, ".")...)
		}
	}
	var walk func(path string, v object)
	walk = func(path string, v object) {
		for name, value := range v {
			if !slices.Contains(words, name) {
				t.Errorf("no template uses %s%s", path, name)
			}
			switch name { // handed on as they are
			case "strategy", "resources", "behavior", "podSecurityContext", "securityContext", "livenessProbe", "readinessProbe", "startupProbe", "timeouts", "labels":
				continue
			}
			if m, ok := value.(object); ok {
				walk(path+name+".", m)
			}
		}
	}
	walk("", values)
}
