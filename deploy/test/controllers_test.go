package deploy_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// controllers are those of a cluster that make pods of a Deployment, guard them by its PodDisruptionBudget and scale it. Nothing runs the pods:
// the test says what a kubelet would say of them.
func (c *cluster) controllers() {
	c.t.Helper()
	_, port, _ := net.SplitHostPort(freeAddr(c.t))
	start(c.t, built(c.t, bin.controllers), nil, "--kubeconfig", c.kubeconfig, "--bind-address", "127.0.0.1", "--secure-port", port, "--cert-dir", c.t.TempDir(),
		"--leader-elect=false", "--controllers", "deployment-controller,replicaset-controller,disruption-controller,horizontal-pod-autoscaler-controller",
		"--horizontal-pod-autoscaler-sync-period", "1s")
}

const podsPath = "/api/v1/namespaces/edge/pods"

// kubelet makes every pod ready that is not, and gives their names.
func (c *cluster) kubelet() (names []string) {
	c.t.Helper()
	items, _ := c.get(podsPath)["items"].([]any)
	for _, item := range items {
		name := dig(item, "metadata", "name").(string)
		names = append(names, name)
		if dig(item, "status", "phase") == "Running" {
			continue
		}
		long := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
		c.status(name, object{"phase": "Running", "startTime": long, "conditions": []any{object{"type": "Ready", "status": "True", "lastTransitionTime": long}}})
	}
	return names
}

// status says of a pod what a kubelet would.
func (c *cluster) status(pod string, status object) {
	c.t.Helper()
	o := c.get(podsPath + "/" + pod)
	o["status"] = status
	if code, answer := c.do(http.MethodPut, podsPath+"/"+pod+"/status", o); code != http.StatusOK {
		c.t.Fatalf("status of %s: %d %v", pod, code, answer["message"])
	}
}

// evict asks for a pod to be evicted, as kubectl drain does.
func (c *cluster) evict(pod string) int {
	c.t.Helper()
	code, _ := c.do(http.MethodPost, podsPath+"/"+pod+"/eviction", object{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": object{"name": pod, "namespace": "edge"}})
	return code
}

func (c *cluster) namespace() {
	c.t.Helper()
	if status, o := c.do(http.MethodPost, "/api/v1/namespaces", object{"metadata": object{"name": "edge"}}); status != http.StatusCreated {
		c.t.Fatalf("namespace: %d %v", status, o["message"])
	}
}

func TestCluster_TheBudgetLetsOnePodGoAtATime(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.controllers()
	c.namespace()
	c.helm("install", "edge", chart, "--set", "auth.mode=none", "--set", "nats.url=nats://nats:4222", "--set-file", "routes.text=testdata/routes.yaml", "--set", "replicaCount=3")
	allowed := func(n float64) func() bool {
		return func() bool {
			pdb := c.get("/apis/policy/v1/namespaces/edge/poddisruptionbudgets/edge-headgate")
			return dig(pdb, "status", "disruptionsAllowed") == n && dig(pdb, "status", "observedGeneration") == dig(pdb, "metadata", "generation")
		}
	}
	c.until("three pods", func() bool { return len(c.kubelet()) == 3 })
	c.until("one may go", allowed(1))
	names := c.kubelet()
	if code := c.evict(names[0]); code != http.StatusCreated {
		t.Fatalf("the first eviction: %d", code)
	}
	if code := c.evict(names[1]); code != http.StatusTooManyRequests {
		t.Errorf("a second one while the first is not replaced: %d", code)
	}
	t.Logf("of three pods one was evicted, a second one at the same time was refused (429)")
	c.until("it is replaced", func() bool { return len(c.kubelet()) == 3 })
	c.until("another may go", allowed(1))
	if code := c.evict(names[1]); code != http.StatusCreated {
		t.Errorf("when it is replaced: %d", code)
	}
	c.until("that is replaced too", func() bool { return len(c.kubelet()) == 3 })
	c.until("another may go", allowed(1))
	// One pod is broken, so no healthy one may go; but the broken one may, so that its node can be drained.
	names = c.kubelet()
	c.status(names[0], object{"phase": "Running", "conditions": []any{object{"type": "Ready", "status": "False"}}})
	c.until("none may go", allowed(0))
	if code := c.evict(names[1]); code != http.StatusTooManyRequests {
		t.Errorf("a healthy pod beside a broken one: %d", code)
	}
	if code := c.evict(names[0]); code != http.StatusCreated {
		t.Errorf("a pod that is not ready: %d", code)
	}
	t.Logf("beside a pod that is not ready no healthy one may go (429), and the one that is not ready may")
}

// metricsAPIs are the APIs that the autoscaler asks, in the place of prometheus-adapter and metrics-server.
type metricsAPIs struct {
	c *cluster

	mu      sync.Mutex
	streams int // of all pods; below 0 nobody knows
	cpu     int // thousandths of a core that they use together
}

func (m *metricsAPIs) set(streams, cpu int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.streams, m.cpu = streams, cpu
}

func (m *metricsAPIs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	streams, cpu := m.streams, m.cpu
	m.mu.Unlock()
	answer := func(o object) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(o)
	}
	resources := func(group, name, kind string) {
		answer(object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": []any{
			object{"name": name, "singularName": "", "namespaced": true, "kind": kind, "verbs": []any{"get", "list"}}}})
	}
	var items []any
	now := time.Now().UTC().Format(time.RFC3339)
	list := func(total int, item func(pod string, part int) object) {
		var o object
		if status, text := m.c.try(http.MethodGet, podsPath, nil); status != http.StatusOK || json.Unmarshal(text, &o) != nil {
			return // the test is over
		}
		all, _ := o["items"].([]any)
		for _, pod := range all {
			items = append(items, item(dig(pod, "metadata", "name").(string), total/len(all)))
		}
	}
	switch r.URL.Path {
	case "/apis/custom.metrics.k8s.io/v1beta2":
		resources("custom.metrics.k8s.io/v1beta2", "pods/headgate_delivery_streams", "MetricValueList")
	case "/apis/metrics.k8s.io/v1beta1":
		resources("metrics.k8s.io/v1beta1", "pods", "PodMetrics")
	case "/apis/custom.metrics.k8s.io/v1beta2/namespaces/edge/pods/*/headgate_delivery_streams":
		if streams < 0 {
			http.NotFound(w, r)
			return
		}
		list(streams, func(pod string, part int) object {
			return object{"describedObject": object{"kind": "Pod", "namespace": "edge", "name": pod, "apiVersion": "v1"},
				"metric": object{"name": "headgate_delivery_streams"}, "timestamp": now, "value": fmt.Sprint(part)}
		})
		answer(object{"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta2", "metadata": object{}, "items": items})
	case "/apis/metrics.k8s.io/v1beta1/namespaces/edge/pods":
		list(cpu, func(pod string, part int) object {
			return object{"metadata": object{"name": pod, "namespace": "edge"}, "timestamp": now, "window": "30s",
				"containers": []any{object{"name": "headgate", "usage": object{"cpu": fmt.Sprintf("%dm", part), "memory": "100Mi"}}}}
		})
		answer(object{"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": object{}, "items": items})
	default:
		http.NotFound(w, r)
	}
}

// serveMetrics puts the metrics APIs behind the API server. It goes to the address of an EndpointSlice, which cannot be of loopback.
func (c *cluster) serveMetrics() *metricsAPIs {
	c.t.Helper()
	address := ""
	all, err := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			address = n.IP.String()
		}
	}
	if err != nil || address == "" {
		c.t.Fatalf("this machine has no address but loopback: %v", err)
	}
	m := &metricsAPIs{c: c}
	ln, err := net.Listen("tcp", address+":0")
	if err != nil {
		c.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(m)
	server.Listener = ln
	server.StartTLS()
	c.t.Cleanup(server.Close)
	port := ln.Addr().(*net.TCPAddr).Port
	for path, o := range map[string]object{
		"/api/v1/namespaces/edge/services": {"metadata": object{"name": "metrics"}, "spec": object{"ports": []any{object{"name": "https", "port": 443, "targetPort": port}}}},
		"/apis/discovery.k8s.io/v1/namespaces/edge/endpointslices": {"metadata": object{"name": "metrics", "labels": object{"kubernetes.io/service-name": "metrics"}}, "addressType": "IPv4",
			"ports": []any{object{"name": "https", "port": port, "protocol": "TCP"}}, "endpoints": []any{object{"addresses": []any{address}, "conditions": object{"ready": true}}}},
	} {
		if status, answer := c.do(http.MethodPost, path, o); status != http.StatusCreated {
			c.t.Fatalf("%s: %d %v", path, status, answer["message"])
		}
	}
	for group, version := range map[string]string{"custom.metrics.k8s.io": "v1beta2", "metrics.k8s.io": "v1beta1"} {
		o := object{"metadata": object{"name": version + "." + group}, "spec": object{"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100,
			"insecureSkipTLSVerify": true, "service": object{"namespace": "edge", "name": "metrics", "port": 443}}}
		if status, answer := c.do(http.MethodPost, "/apis/apiregistration.k8s.io/v1/apiservices", o); status != http.StatusCreated {
			c.t.Fatalf("%s: %d %v", group, status, answer["message"])
		}
		c.until(group+" answers", func() bool {
			status, _ := c.try(http.MethodGet, "/apis/"+group+"/"+version, nil)
			return status == http.StatusOK
		})
	}
	return m
}

func TestCluster_TheAutoscalerFollowsStreamsAndThenCPU(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.namespace()
	m := c.serveMetrics()
	c.controllers()
	values := filepath.Join(t.TempDir(), "values.yaml")
	writeFile(t, values, `{auth: {mode: none}, nats: {url: "nats://nats:4222"}, resources: {requests: {cpu: 500m, memory: 256Mi}, limits: {memory: 256Mi}},
autoscaling: {enabled: true, minReplicas: 2, maxReplicas: 20, streams: 1000, cpu: 70}}`)
	c.helm("install", "edge", chart, "-f", values, "--set-file", "routes.text=testdata/routes.yaml")
	hpa := func() object {
		return c.get("/apis/autoscaling/v2/namespaces/edge/horizontalpodautoscalers/edge-headgate")
	}
	replicas := func(what string, n int) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("the autoscaler says: %v", dig(hpa(), "status"))
			}
		}()
		c.until(fmt.Sprintf("%s: %d pods", what, n), func() bool {
			return len(c.kubelet()) == n && dig(hpa(), "status", "currentReplicas") == float64(n)
		})
		t.Logf("%s: %d pods", what, n)
	}
	replicas("idle", 2)
	m.set(2800, 30)
	replicas("2,800 streams, 1,000 wanted in each", 3)
	condition := func(typ string) (status, reason string) {
		for _, o := range dig(hpa(), "status", "conditions").([]any) {
			if dig(o, "type") == typ {
				return dig(o, "status").(string), dig(o, "reason").(string)
			}
		}
		return "", ""
	}
	m.set(30, 30)
	c.until("the streams have gone, and it waits", func() bool { _, reason := condition("AbleToScale"); return reason == "ScaleDownStabilized" })
	replicas("the streams have gone, and within ten minutes none is taken away", 3)
	m.set(-1, 1800) // 600m each, of 500m that are asked for
	replicas("the metric of the streams cannot be had, and CPU is at 120 % of the request, 70 % wanted", 6)
	if status, reason := condition("ScalingActive"); status != "True" {
		t.Errorf("ScalingActive is %s: %s", status, reason)
	}
	if !strings.Contains(fmt.Sprint(dig(hpa(), "spec", "metrics")), "headgate_delivery_streams") {
		t.Error("the autoscaler has no metric of streams")
	}
}
