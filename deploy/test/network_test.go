package deploy_test

import (
	"slices"
	"testing"
)

// selects says whether matchLabels fit labels.
func selects(matchLabels, labels any) bool {
	want, _ := matchLabels.(object)
	has, _ := labels.(object)
	for name, value := range want {
		if has[name] != value {
			return false
		}
	}
	return len(want) > 0
}

// lets says whether a rule of a NetworkPolicy is about the port, and lets a pod of the namespace with such labels through: peers is from or
// to. nil labels are somebody in another namespace, whom one of peers of the values is.
func lets(rule any, peers string, port any, labels object) bool {
	ports, _ := dig(rule, "ports").([]any)
	if !slices.ContainsFunc(ports, func(p any) bool { return dig(p, "port") == port }) {
		return false
	}
	list, _ := dig(rule, peers).([]any)
	return len(list) == 0 || slices.ContainsFunc(list, func(p any) bool {
		if labels == nil {
			return dig(p, "namespaceSelector") != nil
		}
		return dig(p, "namespaceSelector") == nil && selects(dig(p, "podSelector", "matchLabels"), labels)
	})
}

// In a namespace that lets nothing through, and with an admin port that is for the monitoring alone, helm test works all the same: its pods
// get to headgate, to NATS and to DNS. No Service leads to them.
func TestChart_ItsTestsGetThroughItsNetworkPolicy(t *testing.T) {
	objects := render(t, "-f", chart+"/ci/ingress-values.yaml", "--set", "networkPolicy.extraEgress[0].ports[0].port=443")
	served := dig(find(t, objects, "Deployment", ""), "spec", "template", "metadata", "labels").(object)
	tests := 0
	for _, pod := range objects {
		if pod["kind"] != "Pod" {
			continue
		}
		tests++
		labels := dig(pod, "metadata", "labels").(object)
		way := map[string]bool{}
		for _, o := range objects {
			switch {
			case o["kind"] == "Service" && selects(dig(o, "spec", "selector"), labels):
				t.Errorf("the Service %v leads to a test", dig(o, "metadata", "name"))
			case o["kind"] != "NetworkPolicy":
				continue
			}
			ingress, _ := dig(o, "spec", "ingress").([]any)
			egress, _ := dig(o, "spec", "egress").([]any)
			if selects(dig(o, "spec", "podSelector", "matchLabels"), served) {
				for _, rule := range ingress {
					way["into the admin port"] = way["into the admin port"] || lets(rule, "from", "admin", labels)
				}
			}
			if selects(dig(o, "spec", "podSelector", "matchLabels"), labels) {
				if len(ingress) > 0 {
					t.Errorf("somebody may come to a test: %v", ingress)
				}
				for _, rule := range egress {
					way["to the admin port"] = way["to the admin port"] || lets(rule, "to", 9090.0, served)
					way["to NATS"] = way["to NATS"] || lets(rule, "to", 4222.0, nil)
					way["to DNS"] = way["to DNS"] || lets(rule, "to", 53.0, nil)
					way["to what extraEgress says"] = way["to what extraEgress says"] || lets(rule, "to", 443.0, nil)
				}
			}
		}
		for _, want := range []string{"into the admin port", "to the admin port", "to NATS", "to DNS", "to what extraEgress says"} {
			if !way[want] {
				t.Errorf("%v: no way %s", dig(pod, "metadata", "name"), want)
			}
		}
	}
	if tests != 2 {
		t.Errorf("%d tests", tests)
	}
}
