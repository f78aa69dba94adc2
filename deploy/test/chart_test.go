package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

func TestChart_LintsWithEveryScenario(t *testing.T) {
	files, _ := filepath.Glob(chart + "/ci/*-values.yaml")
	for _, file := range files {
		if out := run(t, nil, built(t, bin.helm), "lint", "--strict", chart, "-f", file); !strings.Contains(out, "0 chart(s) failed") {
			t.Errorf("%s: %s", file, out)
		}
	}
}

// kubernetesSchemas has the API of Kubernetes, of the Gateway API and of the Prometheus operator, and refuses unknown fields.
func kubernetesSchemas(t *testing.T) func(id string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(read(t, "schemas/schemas.json")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("file:///schemas.json", doc); err != nil {
		t.Fatal(err)
	}
	return func(id string) *jsonschema.Schema {
		s, err := c.Compile("file:///schemas.json#/$defs/" + strings.ReplaceAll(id, "/", "~1"))
		if err != nil {
			t.Fatalf("no schema for %s: %v", id, err)
		}
		return s
	}
}

// validate holds an object against a schema; numbers have to be those of the validator.
func validate(s *jsonschema.Schema, o object) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func TestChart_EveryObjectIsWhatKubernetesKnows(t *testing.T) {
	schema := kubernetesSchemas(t)
	seen := map[string]bool{}
	for name, objects := range scenarios(t) {
		for _, o := range objects {
			id := o["apiVersion"].(string) + "/" + o["kind"].(string)
			seen[id] = true
			if err := validate(schema(id), o); err != nil {
				t.Errorf("%s: %s %v: %v", name, id, dig(o, "metadata", "name"), err)
			}
		}
	}
	for _, id := range []string{"apps/v1/Deployment", "v1/Service", "v1/ConfigMap", "v1/ServiceAccount", "v1/Pod", "networking.k8s.io/v1/Ingress",
		"networking.k8s.io/v1/NetworkPolicy", "autoscaling/v2/HorizontalPodAutoscaler", "policy/v1/PodDisruptionBudget",
		"gateway.networking.k8s.io/v1/HTTPRoute", "monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PodMonitor",
		"monitoring.coreos.com/v1/PrometheusRule"} {
		if !seen[id] {
			t.Errorf("no scenario makes a %s", id)
		}
	}
	// The schemas notice mistakes at all.
	d := find(t, render(t, "--set", "auth.mode=none"), "Deployment", "")
	dig(d, "spec").(object)["replica"] = 2
	if validate(schema("apps/v1/Deployment"), d) == nil {
		t.Error("a field that does not exist is not noticed")
	}
}

func TestChart_PodsSatisfyTheRestrictedStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	verdict := func(pod object) []string {
		text, _ := yaml.Marshal(pod)
		var p corev1.Pod
		if err := yaml.UnmarshalStrict(text, &p); err != nil {
			t.Fatal(err)
		}
		var refused []string
		for _, r := range evaluator.EvaluatePod(restricted, &p.ObjectMeta, &p.Spec) {
			if !r.Allowed {
				refused = append(refused, r.ForbiddenReason+": "+r.ForbiddenDetail)
			}
		}
		return refused
	}
	for name, objects := range scenarios(t) {
		for _, o := range objects {
			pod := o
			switch o["kind"] {
			case "Deployment":
				pod = dig(o, "spec", "template").(object)
			case "Pod":
			default:
				continue
			}
			if refused := verdict(pod); refused != nil {
				t.Errorf("%s: %v: %v", name, o["kind"], refused)
			}
		}
	}
	if verdict(object{"spec": object{"containers": []any{object{"name": "x", "image": "x"}}}}) == nil {
		t.Error("a pod without any security context is let through")
	}
}

// The settings that the chart makes are put to headgate itself, in the place of the container: no variable is unknown, the routes load.
func TestChart_HeadgateAcceptsTheSettingsOfEveryScenario(t *testing.T) {
	t.Parallel()
	for name, objects := range scenarios(t) {
		_, container := podSpec(t, objects)
		cmd := exec.Command(built(t, bin.headgate), "-check")
		cmd.Env = mount(t, objects, container)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "warning") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// mount lays the container's files into a directory and gives its environment with the paths there, as a kubelet would.
func mount(t *testing.T, objects []object, container object) []string {
	t.Helper()
	dir := t.TempDir()
	var env []string
	for variable, value := range environment(container) {
		if file, ok := strings.CutPrefix(value, "/etc/headgate/"); ok {
			value = filepath.Join(dir, file)
			if err := os.MkdirAll(filepath.Dir(value), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(value, mounted(t, objects, file), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		env = append(env, variable+"="+value)
	}
	return env
}

// mounted is the content of a file below /etc/headgate: of a ConfigMap of the chart, or something that a Secret might hold.
func mounted(t *testing.T, objects []object, file string) []byte {
	t.Helper()
	switch base := filepath.Base(file); {
	case strings.HasPrefix(file, "routes/"):
		for _, o := range objects {
			if text, ok := dig(o, "data", base).(string); ok && o["kind"] == "ConfigMap" {
				return []byte(text)
			}
		}
		return []byte(read(t, "testdata/routes.yaml"))
	case strings.HasSuffix(base, ".crt"):
		return pair().cert
	case strings.HasSuffix(base, ".key"):
		return pair().key
	case strings.HasSuffix(base, ".pem"):
		return pair().public
	}
	return []byte("content\n")
}

// pair is a certificate, its key, and its public key alone, PEM all of them.
var pair = sync.OnceValue(func() (p struct{ cert, key, public []byte }) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edge.example"}, DNSNames: []string{"edge.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	p.cert, p.key, p.public = text("CERTIFICATE", cert), text("PRIVATE KEY", private), text("PUBLIC KEY", public)
	return p
})

func TestChart_TheGracePeriodCoversPreStopAndDrain(t *testing.T) {
	for _, c := range []struct{ preStop, drain, grace int }{{5, 30, 55}, {0, 5, 25}, {10, 600, 630}} {
		spec, container := podSpec(t, render(t, "--set", "auth.mode=none", "--set", "drain.preStopSeconds="+strconv.Itoa(c.preStop),
			"--set", "drain.drainSeconds="+strconv.Itoa(c.drain)))
		env := environment(container)
		if got := spec["terminationGracePeriodSeconds"]; got != float64(c.grace) {
			t.Errorf("%+v: grace period %v", c, got)
		}
		if env["SHUTDOWN_DRAIN"] != strconv.Itoa(c.drain)+"s" || env["SHUTDOWN_TIMEOUT"] != strconv.Itoa(c.drain+10)+"s" {
			t.Errorf("%+v: %v", c, env)
		}
		sleep := dig(container, "lifecycle", "preStop", "sleep", "seconds")
		if c.preStop == 0 && sleep != nil || c.preStop > 0 && sleep != float64(c.preStop) {
			t.Errorf("%+v: preStop %v", c, sleep)
		}
	}
}

// Helm 3 deletes pods of the policy hook-succeeded before helm test --logs reads what they said, and fails then.
func TestChart_TheLogsOfItsTestsCanBeRead(t *testing.T) {
	tests := 0
	for _, o := range render(t, "--set", "auth.mode=none") {
		hook, _ := dig(o, "metadata", "annotations", "helm.sh/hook").(string)
		if hook != "test" {
			continue
		}
		tests++
		if policy := dig(o, "metadata", "annotations", "helm.sh/hook-delete-policy"); policy != "before-hook-creation" {
			t.Errorf("%v is deleted by the policy %v", dig(o, "metadata", "name"), policy)
		}
	}
	if tests != 2 {
		t.Errorf("%d tests", tests)
	}
}

func TestChart_GOMEMLIMITIsHalfOfTheMemoryLimit(t *testing.T) {
	for limit, want := range map[string]string{"1Gi": "536870912", "1.5Gi": "805306368", "512Mi": "268435456", "2G": "1000000000", "null": ""} {
		_, container := podSpec(t, render(t, "--set", "auth.mode=none", "--set", "resources.limits.memory="+limit))
		if got := environment(container)["GOMEMLIMIT"]; got != want {
			t.Errorf("limit %s: GOMEMLIMIT=%q, want %q", limit, got, want)
		}
	}
	_, container := podSpec(t, render(t, "--set", "auth.mode=none", "--set", "goMemLimitPercent=0"))
	if _, there := environment(container)["GOMEMLIMIT"]; there {
		t.Error("goMemLimitPercent=0 sets GOMEMLIMIT")
	}
}

func TestChart_SettingsReachHeadgateAsTheyWereSaid(t *testing.T) {
	_, container := podSpec(t, render(t, "-f", chart+"/ci/gateway-values.yaml"))
	env := environment(container)
	for name, want := range map[string]string{"JETSTREAM_TAIL_BYTES": "268435456", "LIMIT_CONNECTIONS": "60000", "CONSOLE": "true", "SSE_MAX_AGE": "30m",
		"HTTP_TRUSTED_PROXIES": "private", "HTTP_MORE_ADDRS": ":8081,:8082", "NATS_CREDS_FILE": "/etc/headgate/files/secret-headgate-nats/headgate.creds"} {
		if env[name] != want {
			t.Errorf("%s=%q, want %q", name, env[name], want)
		}
	}
	for _, mount := range container["volumeMounts"].([]any) {
		if dig(mount, "subPath") != nil || dig(mount, "readOnly") != true {
			t.Errorf("%v: a subPath is never updated, and nothing is written", mount)
		}
	}
	routes := dig(find(t, render(t, "-f", chart+"/ci/gateway-values.yaml"), "ConfigMap", "-routes"), "data", "routes.yaml").(string)
	if !strings.Contains(routes, "max_events: 1000000\n") {
		t.Errorf("a large number has become another text:\n%s", routes)
	}
}

// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set; a tag may have 128 characters.
func TestChart_TheVersionIsALabelWhateverTheTag(t *testing.T) {
	for tag, want := range map[string]string{"1.2.3": "1.2.3", strings.Repeat("v", 62) + "-abc": strings.Repeat("v", 62), strings.Repeat("a", 128): strings.Repeat("a", 63)} {
		d := find(t, render(t, "--set", "auth.mode=none", "--set", "image.tag="+tag), "Deployment", "")
		for _, labels := range []any{dig(d, "metadata", "labels"), dig(d, "spec", "template", "metadata", "labels")} {
			if got := dig(labels, "app.kubernetes.io/version"); got != want {
				t.Errorf("%s: %v", tag, got)
			}
		}
	}
}

// Kubernetes refuses settings of a rolling update beside any other strategy.
func TestChart_RecreateHasNoRollingUpdate(t *testing.T) {
	spec := dig(find(t, render(t, "--set", "auth.mode=none", "--set", "strategy.type=Recreate"), "Deployment", ""), "spec", "strategy").(object)
	if len(spec) != 1 || spec["type"] != "Recreate" {
		t.Errorf("%v", spec)
	}
}

// Whatever white space there is in front of the first line, in the middle and at the end.
func TestChart_RoutesGivenAsTextStayAsTheyAre(t *testing.T) {
	for _, text := range []string{"# routes\nversion: 1\n", "  # indented\nversion: 1\nroutes: []\n", "   \nversion: 1\n\n\nroutes:\n  - {name: a}\n"} {
		file := filepath.Join(t.TempDir(), "routes.yaml")
		writeFile(t, file, text)
		objects := render(t, "--set", "auth.mode=none", "--set-file", "routes.text="+file)
		if got := dig(find(t, objects, "ConfigMap", "-routes"), "data", "routes.yaml"); got != text {
			t.Errorf("%q has become %q", text, got)
		}
	}
}

func TestChart_ThePodsStayWhenTheRoutesChange(t *testing.T) {
	pods := func(args ...string) string {
		spec := dig(find(t, render(t, append([]string{"--set", "auth.mode=none"}, args...)...), "Deployment", ""), "spec", "template")
		text, _ := json.Marshal(spec)
		return string(text)
	}
	one := pods("--set", "routes.text=a")
	if one != pods("--set", "routes.text=b") {
		t.Error("headgate reads its routes again by itself, and the pods are replaced")
	}
	if pods("--set", "routes.text=a", "--set", "routes.rollOnChange=true") == pods("--set", "routes.text=b", "--set", "routes.rollOnChange=true") {
		t.Error("rollOnChange=true does not hold")
	}
	if one != pods("--set", "routes.text=a", "--set", "metrics.prometheusRule.enabled=true", "--set", "service.type=LoadBalancer") {
		t.Error("what is not about the pods replaces them")
	}
}
