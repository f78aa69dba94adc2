package inspect

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPermissions_NothingTwiceNothingCoveredNothingLeftOpen(t *testing.T) {
	routes := []config.Route{
		{Name: "a", Sources: []config.Source{{Type: "core", Subject: "prices.{symbol}"}, {Type: "core", Allow: []string{"feed.>", "prices.>"}}}},
		{Name: "b", Sources: []config.Source{{Type: "stream", Stream: "S", Subject: "s.{x}"}, {Type: "stream", Stream: "S", Allow: []string{"s.>"}}}},
		{Name: "c", Publish: &config.Publish{Subject: "users.{user}"}},
	}
	cfg := Config{Routes: routes, NATS: config.NATS{InboxPrefix: "_INBOX_x."}}
	uses, err := usages(routes)
	if err != nil {
		t.Fatal(err)
	}
	p := permissions(cfg, jsapi.New("", "js.eu"), uses, false)
	if got := strings.Join(p.Subscribe, " "); got != "feed.> prices.> _INBOX_x.>" {
		t.Error(got)
	}
	const want = "js.eu.STREAM.INFO.S js.eu.STREAM.MSG.GET.S js.eu.DIRECT.GET.S js.eu.CONSUMER.CREATE.S.> js.eu.CONSUMER.MSG.NEXT.S.* " +
		"js.eu.CONSUMER.DELETE.S.* users.*"
	if got := strings.Join(p.Publish, " "); got != want {
		t.Error(got)
	}
	p = permissions(Config{Routes: routes[2:]}, jsapi.New("", ""), nil, true)
	if pub, sub := strings.Join(p.Publish, " "), strings.Join(p.Subscribe, " "); pub != "$JS.API.STREAM.NAMES users.*" || sub != "_INBOX.>" {
		t.Error(pub, sub)
	}
	reading := Permissions{Subscribe: []string{`it's."x"`}}
	if got := reading.Block(); !strings.Contains(got, `publish { deny: ">" }`) || !strings.Contains(got, `"it's.\"x\""`) {
		t.Error(got)
	}
	if got := reading.NSC(); !strings.Contains(got, `--deny-pub '>'`) || !strings.Contains(got, `--allow-sub 'it'\''s."x"'`) {
		t.Error(got)
	}
}

func TestPermissions_OfOperators(t *testing.T) {
	p := permissions(Config{NATS: config.NATS{InboxPrefix: "_INBOX_x"}, Bucket: "R", BucketTTL: time.Hour, Control: "_HG"}, jsapi.New("", ""), nil, true)
	const publish = "$JS.API.STREAM.INFO.KV_R $JS.API.STREAM.MSG.GET.KV_R $JS.API.CONSUMER.CREATE.KV_R.> $JS.API.CONSUMER.MSG.NEXT.KV_R.* " +
		"$JS.API.CONSUMER.DELETE.KV_R.* $JS.API.STREAM.CREATE.KV_R _INBOX.> $KV.R.>"
	if got := strings.Join(p.Publish, " "); got != publish {
		t.Error(got)
	}
	const subscribe = "_INBOX_x.> _HG.> $SRV.PING $SRV.PING.headgate $SRV.PING.headgate.* $SRV.INFO $SRV.INFO.headgate $SRV.INFO.headgate.* " +
		"$SRV.STATS $SRV.STATS.headgate $SRV.STATS.headgate.*"
	if got := strings.Join(p.Subscribe, " "); got != subscribe {
		t.Error(got)
	}
	if strings.Contains(p.Block(), "allow_responses") || strings.Contains(p.NSC(), "--allow-pub-response") {
		t.Error(p.String())
	}
	// Who only watches writes nothing, and answers nobody.
	p = permissions(Config{Bucket: "R"}, jsapi.New("", ""), nil, true)
	if all := strings.Join(p.Publish, " "); strings.Contains(all, "$KV.") || strings.Contains(all, "STREAM.CREATE") || strings.Contains(all, "_INBOX") || len(p.Subscribe) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestPermitted_TheAPIOfTheServersOwnDomainIsThePlainOne(t *testing.T) {
	for _, x := range []struct{ domain, prefix, of, want string }{
		{"", "", "", "$JS.API."}, {"", "", "hub", "$JS.API."}, {"hub", "", "hub", "$JS.API."}, {"hub", "", "leaf", "$JS.hub.API."},
		{"hub", "", "", "$JS.hub.API."}, {"", "$JS.hub.API", "hub", "$JS.API."}, {"", "hub.API", "hub", "hub.API."},
	} {
		if got := permitted(jsapi.New(x.domain, x.prefix), x.of).Subject(""); got != x.want {
			t.Errorf("%+v: %s", x, got)
		}
	}
}

func TestRights_SayWhatCanBeTold(t *testing.T) {
	for _, x := range []struct {
		r       rights
		pattern string
		want    verdict
	}{
		{rights{}, "a.*", unknown},
		{rights{told: true}, "a.*", allowed},
		{rights{told: true, allow: []string{"a.>"}}, "a.*", allowed},
		{rights{told: true, allow: []string{"a.b"}}, "a.*", partly},
		{rights{told: true, allow: []string{"b.>"}}, "a.*", refused},
		{rights{told: true, deny: []string{"a.>"}}, "a.*", refused},
		{rights{told: true, allow: []string{"a.>"}, deny: []string{"a.secret"}}, "a.*", partly},
	} {
		if got := x.r.mayPublish(x.pattern); got != x.want {
			t.Errorf("%+v, %s: %d, want %d", x.r, x.pattern, got, x.want)
		}
	}
}

func TestReport_OnePlaceOneHeading(t *testing.T) {
	r := Report{Server: "nats://x:4222"}
	r.checked()
	r.add(Finding{Where: "here", Level: Error, Text: "broken", Remedy: "mend it"})
	r.add(Finding{Where: "here", Level: Note, Text: "so it is"})
	var b strings.Builder
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	const want = "\nhere\n    error: broken\n        remedy: mend it\n    note: so it is\n\n1 error, 0 warnings, 1 note; 1 check found nothing wrong.\n"
	if !strings.Contains(b.String(), want) || !r.Failed() {
		t.Error(b.String())
	}
}

func TestRoom_WarnsOfWhatCannotFit(t *testing.T) {
	for _, c := range []struct {
		keys uint64
		want []string
	}{
		{100_000, nil}, // one that does not fit is read from NATS
		{130_000, []string{"for each client"}},
		{2_000_000, []string{"source-lost", "not even these fit"}},
		{2_000_001, []string{"for each client", "not even these fit"}}, // it has no history
	} {
		i := &inspector{cfg: Config{JetStream: config.JetStream{TailBytes: 10 << 20}}, report: &Report{}}
		info := jsapi.Info{NumSubjects: c.keys}
		if c.keys == 2_000_001 {
			info.Config.MaxMsgsPerSubject = 1
		}
		i.room("bucket FLAGS", info)
		if len(i.report.Findings) != len(c.want) {
			t.Fatalf("%d keys: %+v", c.keys, i.report.Findings)
		}
		for n, f := range i.report.Findings {
			if f.Level != Warning || !strings.Contains(f.Text, c.want[n]) || !strings.Contains(f.Remedy, "JETSTREAM_TAIL_BYTES") {
				t.Errorf("%d keys: %+v", c.keys, f)
			}
			if lost := strings.Contains(f.Text, "source-lost"); lost != (n == 0 && c.keys == 2_000_000) {
				t.Errorf("%d keys: %+v", c.keys, f)
			}
		}
	}
}
