package deploy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// cluster is the part of a cluster that judges: etcd and a kube-apiserver, on loopback. Nothing schedules or runs pods.
type cluster struct {
	t          *testing.T
	url        string
	kubeconfig string
	client     *http.Client
}

const (
	clusterToken      = "token-of-the-test"
	kubernetesVersion = "v1.36.3" // of apiserver/go.mod; its own build scripts would stamp it
)

// newCluster builds the API server from the module proxy, which takes minutes the first time, and starts it.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getenv("HEADGATE_CLUSTER") != "1" {
		t.Skip("needs minutes for the build of kube-apiserver, and etcd (apt-get install etcd-server): make cluster runs it")
	}
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		t.Fatal("etcd is missing: apt-get install etcd-server")
	}
	apiserver := built(t, bin.apiserver)
	dir := t.TempDir()
	etcdURL, peerURL := "http://"+freeAddr(t), "http://"+freeAddr(t)
	start(t, etcd, nil, "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default="+peerURL)
	for file, text := range map[string][]byte{"tokens.csv": []byte(clusterToken + ",admin,admin,system:masters\n"), "sa.key": pair().key, "sa.pub": pair().public} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	start(t, apiserver, nil, "--etcd-servers", etcdURL, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", port,
		"--cert-dir", filepath.Join(dir, "certs"), "--token-auth-file", filepath.Join(dir, "tokens.csv"), "--authorization-mode", "RBAC",
		"--service-cluster-ip-range", "10.96.0.0/16", "--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", filepath.Join(dir, "sa.pub"), "--service-account-signing-key-file", filepath.Join(dir, "sa.key"),
		"--endpoint-reconciler-type", "none", "--disable-admission-plugins", "ServiceAccount", "--enable-aggregator-routing")
	c := &cluster{t: t, url: "https://" + addr, kubeconfig: filepath.Join(dir, "kubeconfig"),
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}} // its certificate is its own, on loopback
	t.Cleanup(c.client.CloseIdleConnections)
	config := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "test",
"clusters": [{"name": "test", "cluster": {"server": %q, "insecure-skip-tls-verify": true}}], "users": [{"name": "test", "user": {"token": %q}}],
"contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]}`, c.url, clusterToken)
	if err := os.WriteFile(c.kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c.until("the API server is ready", func() bool { status, _ := c.try(http.MethodGet, "/readyz", nil); return status == http.StatusOK })
	_, version := c.do(http.MethodGet, "/version", nil)
	t.Logf("kube-apiserver %v is ready", version["gitVersion"])
	return c
}

func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within two minutes: %s", what)
		}
	}
}

// try is one request; status 0 when there was no answer.
func (c *cluster) try(method, path string, body any) (int, []byte) {
	c.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(text))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+clusterToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, answer
}

func (c *cluster) do(method, path string, body any) (int, object) {
	c.t.Helper()
	status, text := c.try(method, path, body)
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		c.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return status, o
}

func (c *cluster) get(path string) object {
	c.t.Helper()
	status, o := c.do(http.MethodGet, path, nil)
	if status != http.StatusOK {
		c.t.Fatalf("%s: %d %v", path, status, o["message"])
	}
	return o
}

// helm runs helm against the cluster, in the namespace edge.
func (c *cluster) helm(args ...string) string {
	c.t.Helper()
	return run(c.t, nil, built(c.t, bin.helm), append([]string{"--kubeconfig", c.kubeconfig, "--namespace", "edge"}, args...)...)
}

// define installs the CRDs that the chart has objects of.
func (c *cluster) define() {
	c.t.Helper()
	files := map[string][]string{
		"sigs.k8s.io/gateway-api@v1.6.3": {"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
			"config/crd/standard/gateway.networking.k8s.io_gateways.yaml"},
		"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
			"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"},
	}
	for module, names := range files {
		cmd := exec.Command("go", "mod", "download", "-json", module)
		cmd.Dir = c.t.TempDir()
		text, err := cmd.Output()
		var m struct{ Dir string }
		if err != nil || json.Unmarshal(text, &m) != nil {
			c.t.Fatalf("%s: %v %s", module, err, text)
		}
		for _, name := range names {
			var crd object
			if err := yaml.Unmarshal([]byte(read(c.t, filepath.Join(m.Dir, name))), &crd); err != nil {
				c.t.Fatal(err)
			}
			if status, answer := c.do(http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd); status != http.StatusCreated {
				c.t.Fatalf("%s: %d %v", name, status, answer["message"])
			}
			path := "/apis/" + dig(crd, "spec", "group").(string) + "/v1/" + dig(crd, "spec", "names", "plural").(string)
			c.until(path, func() bool { status, _ := c.try(http.MethodGet, path, nil); return status == http.StatusOK })
		}
	}
}

// left are the objects of a release that are still there, as kind/name.
func (c *cluster) left(release string) []string {
	c.t.Helper()
	var names []string
	for _, path := range []string{"/api/v1/namespaces/edge/services", "/api/v1/namespaces/edge/configmaps", "/api/v1/namespaces/edge/serviceaccounts",
		"/apis/apps/v1/namespaces/edge/deployments", "/apis/policy/v1/namespaces/edge/poddisruptionbudgets",
		"/apis/autoscaling/v2/namespaces/edge/horizontalpodautoscalers", "/apis/networking.k8s.io/v1/namespaces/edge/ingresses",
		"/apis/networking.k8s.io/v1/namespaces/edge/networkpolicies", "/apis/gateway.networking.k8s.io/v1/namespaces/edge/httproutes",
		"/apis/monitoring.coreos.com/v1/namespaces/edge/servicemonitors", "/apis/monitoring.coreos.com/v1/namespaces/edge/podmonitors",
		"/apis/monitoring.coreos.com/v1/namespaces/edge/prometheusrules"} {
		items, _ := c.get(path)["items"].([]any)
		for _, item := range items {
			if dig(item, "metadata", "annotations", "meta.helm.sh/release-name") == release {
				names = append(names, filepath.Base(path)+"/"+dig(item, "metadata", "name").(string))
			}
		}
	}
	slices.Sort(names)
	return names
}

func TestCluster_InstallsUpgradesAndUninstallsEveryScenario(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define()
	labels := object{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}
	if status, o := c.do(http.MethodPost, "/api/v1/namespaces", object{"metadata": object{"name": "edge", "labels": labels}}); status != http.StatusCreated {
		t.Fatalf("namespace: %d %v", status, o["message"])
	}
	plain := object{"metadata": object{"name": "plain"}, "spec": object{"containers": []any{object{"name": "x", "image": "x"}}}}
	if status, _ := c.do(http.MethodPost, "/api/v1/namespaces/edge/pods?dryRun=All", plain); status != http.StatusForbidden {
		t.Fatalf("a plain pod is answered with %d: Pod Security does not hold here", status)
	}
	gatewayFile(t, c)
	files, _ := filepath.Glob(chart + "/ci/*-values.yaml")
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), "-values.yaml")
		deployment := "/apis/apps/v1/namespaces/edge/deployments/" + name + "-headgate"
		c.helm("install", name, chart, "-f", file)
		made := c.left(name)
		t.Logf("%s: installed %s", name, strings.Join(made, " "))
		pods(t, c, name)

		before := c.get(deployment)
		c.helm("upgrade", name, chart, "-f", file, "--set", "drain.drainSeconds=77", "--set", "image.tag=9.9.9")
		after := c.get(deployment)
		if dig(after, "metadata", "generation") == dig(before, "metadata", "generation") ||
			!strings.HasSuffix(dig(after, "spec", "template", "spec", "containers", 0, "image").(string), ":9.9.9") {
			t.Errorf("%s: the upgrade did not arrive", name)
		}
		// A second upgrade to the same changes nothing: no pod is replaced for nothing.
		c.helm("upgrade", name, chart, "-f", file, "--set", "drain.drainSeconds=77", "--set", "image.tag=9.9.9", "--set", "service.annotations.a=b")
		if again := c.get(deployment); dig(again, "metadata", "generation") != dig(after, "metadata", "generation") {
			t.Errorf("%s: an upgrade that is not about the pods changes the Deployment", name)
		}
		c.helm("rollback", name, "1")
		if back := c.get(deployment); dig(back, "spec", "template", "spec", "terminationGracePeriodSeconds") !=
			dig(before, "spec", "template", "spec", "terminationGracePeriodSeconds") {
			t.Errorf("%s: the rollback did not arrive", name)
		}
		t.Logf("%s: upgraded twice and rolled back: %s", name, strings.Join(strings.Fields(c.helm("history", name, "--max", "1", "-o", "json")), " "))
		c.helm("uninstall", name)
		if left := c.left(name); left != nil {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	t.Logf("uninstalled all, nothing is left")
}

// gatewayFile puts deploy/proxies/gateway-api.yaml to the API server, which refuses unknown fields and what the rules of the CRDs forbid.
func gatewayFile(t *testing.T, c *cluster) {
	t.Helper()
	paths := map[string]string{"Gateway": "gateways", "HTTPRoute": "httproutes"}
	taken := 0
	for _, document := range strings.Split(read(t, "../proxies/gateway-api.yaml"), "\n---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Fatal(err)
		}
		path := "/apis/gateway.networking.k8s.io/v1/namespaces/edge/" + paths[dig(o, "kind").(string)] + "?dryRun=All&fieldValidation=Strict"
		if status, answer := c.do(http.MethodPost, path, o); status != http.StatusCreated {
			t.Errorf("%v of gateway-api.yaml: %d %v", o["kind"], status, answer["message"])
		}
		dig(o, "spec").(object)["nothing"] = 1
		if status, _ := c.do(http.MethodPost, path, o); status != http.StatusBadRequest {
			t.Errorf("%v with an unknown field: %d", o["kind"], status)
		}
		taken++
	}
	if taken != len(paths) {
		t.Errorf("%d objects in gateway-api.yaml", taken)
	}
	t.Logf("deploy/proxies/gateway-api.yaml is taken")
}

// pods puts the pods that a release would run to the API server, which enforces the standard restricted.
func pods(t *testing.T, c *cluster, release string) {
	t.Helper()
	template := dig(c.get("/apis/apps/v1/namespaces/edge/deployments/"+release+"-headgate"), "spec", "template").(object)
	dig(template, "metadata").(object)["name"] = release
	list := []object{template}
	for _, document := range strings.Split(c.helm("get", "hooks", release), "\n---\n") {
		var pod object
		if err := yaml.Unmarshal([]byte(document), &pod); err != nil {
			t.Fatal(err)
		}
		if pod["kind"] == "Pod" {
			list = append(list, pod)
		}
	}
	if len(list) != 3 {
		t.Errorf("%s: %d pods, want one of the Deployment and two tests", release, len(list))
	}
	for _, pod := range list {
		if status, o := c.do(http.MethodPost, "/api/v1/namespaces/edge/pods?dryRun=All&fieldValidation=Strict", pod); status != http.StatusCreated {
			t.Errorf("%s: pod %v: %d %v", release, dig(pod, "metadata", "name"), status, o["message"])
		}
	}
	t.Logf("%s: its %d pods pass Pod Security restricted", release, len(list))
}

// What was installed is carried out here in the kubelet's place: the container's environment and files as the API server has them. A
// stream comes through it from a real NATS, and the test pod that asks NATS about the routes is content.
func TestCluster_WhatIsInstalledServes(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	if status, o := c.do(http.MethodPost, "/api/v1/namespaces", object{"metadata": object{"name": "edge"}}); status != http.StatusCreated {
		t.Fatalf("namespace: %d %v", status, o["message"])
	}
	natsAddr, public, admin := freeAddr(t), freeAddr(t), freeAddr(t)
	_, natsPort, _ := net.SplitHostPort(natsAddr)
	_, publicPort, _ := net.SplitHostPort(public)
	_, adminPort, _ := net.SplitHostPort(admin)
	start(t, built(t, bin.nats), nil, "-a", "127.0.0.1", "-p", natsPort)
	notes := c.helm("install", "edge", chart, "--set", "auth.mode=none", "--set", "nats.url=nats://"+natsAddr, "--set", "http.port="+publicPort,
		"--set", "http.adminPort="+adminPort, "--set-file", "routes.text=testdata/routes.yaml")
	deployment := c.get("/apis/apps/v1/namespaces/edge/deployments/edge-headgate")
	routes := c.get("/api/v1/namespaces/edge/configmaps/edge-headgate-routes")
	routes["kind"] = "ConfigMap"
	container := dig(deployment, "spec", "template", "spec", "containers", 0).(object)
	env := mount(t, []object{routes}, container)
	start(t, built(t, bin.headgate), env)
	probe := dig(container, "readinessProbe", "httpGet", "path").(string)
	c.until("the readiness probe passes", func() bool {
		status, _, err := get(t.Context(), "http://"+admin+probe)
		return err == nil && status == http.StatusOK
	})
	check := exec.Command(built(t, bin.headgate), "-check", "-online")
	check.Env = env
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("the test pod would fail: %v\n%s", err, out)
	}
	// As NOTES.txt says it.
	line := regexp.MustCompile(`(?m)^  curl -N 'http://localhost:8080(.+)'$`).FindStringSubmatch(notes)
	if line == nil {
		t.Fatalf("no line that reads a stream in\n%s", notes)
	}
	edge := throughHAProxy(t, public, adminPort)
	c.until("the proxy has found the replica", func() bool {
		status, _, err := get(t.Context(), "http://"+edge+"/no-such-route")
		return err == nil && status == http.StatusNotFound
	})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+edge+line[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	stream, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	seen, symbol := "", filepath.Base(line[1])
	c.until("the message arrives", func() bool {
		if strings.Contains(seen, "$ready") {
			publish(t, natsAddr, "prices."+symbol, `{"price":1}`)
		}
		chunk := make([]byte, 512)
		n, err := stream.Body.Read(chunk)
		seen += string(chunk[:n])
		return err != nil || strings.Contains(seen, `data: {"price":1}`)
	})
	if !strings.Contains(seen, `data: {"price":1}`) {
		t.Error(seen)
	}
	t.Logf("the stream that the installed chart serves, through HAProxy:\n%s", seen)
}

// publish speaks the text protocol of NATS.
func publish(t *testing.T, addr, subject, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT {\"verbose\":false}\r\nPUB %s %d\r\n%s\r\nPING\r\n", subject, len(text), text)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	answer, seen := make([]byte, 4096), ""
	for !strings.Contains(seen, "PONG") {
		n, err := conn.Read(answer)
		if err != nil {
			t.Fatal(err)
		}
		seen += string(answer[:n])
	}
}
