//go:build !nodev

package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"headgate/internal/config"
)

func TestDev_TheBannerNamesLinesThatWork(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	p.until("the banner is out", func() bool { return strings.Contains(p.stdout.String(), "Ctrl-C") })
	banner := p.stdout.String()
	for _, want := range []string{
		"INSECURE", "curl -N '" + p.public + "/v1/prices/ACME'", "curl -N '" + p.public + "/v1/broadcast'",
		"curl -i -d '{\"text\":\"Hello\"}' '" + p.public + "/v1/broadcast'", "pub 'demo.broadcast'",
		`curl -N -H "Last-Event-ID: $id" '` + p.public + "/v1/orders/eu'",
		p.public + "/console/", "nats://127.0.0.1:", p.admin,
	} {
		if !strings.Contains(banner, want) {
			t.Errorf("the banner lacks %q:\n%s", want, banner)
		}
	}
	if status, body := p.get(p.public + "/console/"); status != http.StatusOK || !strings.Contains(body, "headgate") {
		t.Errorf("console: %d", status)
	}
	status, body := p.get(p.public + "/console/routes.json")
	if status != http.StatusOK || !strings.Contains(body, `"example":"ACME"`) || !strings.Contains(body, `"publish":"demo.broadcast"`) {
		t.Errorf("routes.json: %d %s", status, body)
	}
	var list struct {
		Routes []struct {
			Name       string
			IDs, Since bool
			Subjects   []string
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list.Routes { // what can begin at a time, and what only at an id
		if want := r.Name == "orders" || r.Name == "job" || r.Name == "region"; r.Since != want {
			t.Errorf("route %s: since is %t", r.Name, r.Since)
		}
		if r.Name == "flags" && (!r.IDs || !slices.Equal(r.Subjects, []string{"$KV.DEMO_FLAGS.{env}.>"})) {
			t.Errorf("route flags: %+v", r)
		}
	}
	everybody := p.open("/v1/broadcast")
	p.post("/v1/broadcast", "the line of the banner")
	for e := everybody.next("message"); e.Data != "the line of the banner"; e = everybody.next("message") {
		if !strings.Contains(e.Data, "Hello to everybody") { // which the demo says now and then
			t.Fatalf("%+v", e)
		}
	}
}

func TestDev_TheBannersStreamShowsWhatItsPublishLinesSend(t *testing.T) {
	core := func(name, path, subject string) config.Route {
		return config.Route{Name: name, Path: path, Sources: []config.Source{{Name: name, Type: "core", Subject: subject}}}
	}
	publish := func(r config.Route, subject string) config.Route {
		r.Publish = &config.Publish{Subject: subject}
		return r
	}
	entrance := config.Route{Name: "in", Path: "/in/{user}/{kind}"}
	named := config.Route{Name: "named", Path: "/named", Sources: []config.Source{{Name: "named", Type: "core", Allow: []string{"feed.>"}}}}
	kept := config.Route{Name: "kept", Path: "/kept/{region}", Sources: []config.Source{{Type: "stream", Subject: "kept.{region}"}},
		Resume: config.Resume{Enabled: true}}
	values := config.Route{Name: "values", Path: "/values", Sources: []config.Source{{Type: "kv", Subject: ">"}}, Resume: config.Resume{Enabled: true}}
	resume := func(path string) string {
		return `id=$(curl -sNm2 '` + path + `' | sed -n 's/^id: //p' | tail -n1); sleep 3; curl -N -H "Last-Event-ID: $id" '` + path
	}
	for name, tc := range map[string]struct {
		routes []config.Route
		want   []string // the commands, without their beginnings
	}{
		"one that is kept":    {[]config.Route{values, kept}, []string{"/values", "/kept/eu", "kept.eu", resume("/kept/eu")}},
		"nothing but buckets": {[]config.Route{values}, []string{"/values"}},
		"one route does both": {
			[]config.Route{core("a", "/a", "a.*"), publish(entrance, "b"), publish(core("c", "/c/{symbol}", "c.{symbol}"), "c.{symbol}")},
			[]string{"/a", "/c/ACME", "/c/ACME", "c.ACME"},
		},
		"two routes": {
			[]config.Route{core("a", "/a", "a.*"), core("b", "/b/{user}", "b.{user}.>"), publish(entrance, "b.{user}.{kind}")},
			[]string{"/a", "/b/alice", "/in/alice/message", "b.alice.message"},
		},
		"a route whose two ends do not meet": {
			[]config.Route{publish(core("a", "/a", "a"), "b"), core("b", "/b", "b")},
			[]string{"/a", "/b", "/a", "b"},
		},
		"no entrance":        {[]config.Route{core("a", "/a/{x}", "a.{x}.>")}, []string{"/a/demo", "a.demo.demo"}},
		"clients name them":  {[]config.Route{named, publish(entrance, "feed.{user}")}, []string{"/named?subject=feed.>", "/in/alice/message", "feed.alice"}},
		"only clients":       {[]config.Route{named}, []string{"/named?subject=feed.>", "feed.demo"}},
		"nothing but POST":   {[]config.Route{publish(entrance, "x")}, []string{"/in/alice/message"}},
		"nothing that meets": {[]config.Route{core("a", "/a", "a"), publish(entrance, "x")}, []string{"/a", "/in/alice/message", "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			banner{cfg: config.Config{HTTP: config.HTTP{BasePath: "/"}, Routes: tc.routes}, natsURL: "nats://n"}.commands("", func(_, text string) {
				for _, beginning := range []string{"curl -N ", "curl -i -d " + hello + " ", "nats -s nats://n pub "} {
					text = strings.TrimPrefix(text, beginning)
				}
				got = append(got, strings.Trim(strings.TrimSuffix(text, " "+hello), "'"))
			})
			if !slices.Equal(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
