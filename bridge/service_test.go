package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

func echo(name string, everybody bool) Endpoint {
	return Endpoint{Name: name, Doc: "says it again", Everybody: everybody, Answer: func(_ context.Context, id string, request []byte, room int) ([]byte, error) {
		switch string(request) {
		case "mend":
			return nil, &Refusal{Code: "400", Text: "say something else"}
		case "fail":
			return nil, errors.New("secret detail")
		case "panic":
			panic("secret detail")
		case "long":
			return make([]byte, room+1), nil
		case "full":
			return make([]byte, room), nil
		}
		return request, nil
	}}
}

func TestService_IsFoundAndAnswers(t *testing.T) {
	ns := startNATS(t, devnats.Options{Configure: func(o *server.Options) { o.MaxPayload = 64 << 10; o.MaxPending = 1 << 20 }})
	without := func(c *config.Config) { c.Auth.RevocationBucket = "" }
	for range 3 {
		controlled(t, ns.URL(), without, echo("all", true), echo("one", false))
	}
	nc := publisherOf(t, ns.URL())
	var infos []micro.Info
	eventually(t, "three services", func() bool {
		infos = nil
		for _, m := range ask(t, nc, "$SRV.INFO.headgate", "") {
			var i micro.Info
			if err := json.Unmarshal(m.Data, &i); err != nil {
				t.Fatal(err)
			}
			infos = append(infos, i)
		}
		return len(infos) == 3
	})
	if i := infos[0]; i.Version != "1.2.3" || i.Metadata["instance"] == "" || len(i.Endpoints) != 4 || i.Endpoints[0].Metadata["description"] != "says it again" {
		t.Errorf("%+v", i)
	}
	if n := len(ask(t, nc, "_HEADGATE.all", "x")); n != 3 {
		t.Errorf("%d answered of all", n)
	}
	if n := len(ask(t, nc, "_HEADGATE.one", "x")); n != 1 {
		t.Errorf("%d answered of one", n)
	}
	if n := len(ask(t, nc, "_HEADGATE."+infos[1].Metadata["instance"]+".all", "x")); n != 1 {
		t.Errorf("%d answered of the instance", n)
	}
	for request, want := range map[string]string{"mend": "400 say something else", "fail": "500 headgate could not do it; its log says why",
		"panic": "500 headgate could not do it; its log says why", "long": "500 headgate could not do it; its log says why", "full": " "} {
		m, err := nc.Request("_HEADGATE.one", []byte(request), patience)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get(micro.ErrorCodeHeader) + " " + m.Header.Get(micro.ErrorHeader); got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
	// Nobody waits for an answer, and the next one gets his.
	if err := nc.Publish("_HEADGATE.one", []byte("panic")); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Request("_HEADGATE.one", nil, patience); err != nil {
		t.Error(err)
	}
}

// ask collects the answers of everybody.
func ask(t *testing.T, nc *nats.Conn, subj, request string) (answers []*nats.Msg) {
	t.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest(subj, inbox, []byte(request)); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := sub.NextMsg(200 * time.Millisecond)
		if err != nil {
			return slices.DeleteFunc(answers, func(m *nats.Msg) bool { return m.Header.Get("Status") == "503" })
		}
		answers = append(answers, m)
	}
}

func TestService_SurvivesAnOutage(t *testing.T) {
	ns := startNATS(t, devnats.Options{})
	controlled(t, ns.URL(), func(c *config.Config) { c.Auth.RevocationBucket = "" }, echo("all", true))
	nc := publisherOf(t, ns.URL())
	there := func() bool { return len(ask(t, nc, "_HEADGATE.all", "x")) == 1 }
	eventually(t, "the service", there)
	if err := ns.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service again", func() bool { return nc.IsConnected() && there() })
}

// Whoever asks chooses where the answer goes, and headgate may publish where he may not: the answer purged the stream.
func TestHardening_ServiceAnswersNowhereButAtInboxes(t *testing.T) {
	ns := startNATS(t, devnats.Options{JetStream: true, StoreDir: t.TempDir()})
	controlled(t, ns.URL(), func(c *config.Config) { c.Auth.RevocationBucket = "" }, echo("all", true))
	nc := publisherOf(t, ns.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "s", []byte("x")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service", func() bool { return len(ask(t, nc, "_HEADGATE.all", "x")) == 1 })
	heard, err := nc.SubscribeSync("orders.new")
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"$JS.API.STREAM.PURGE.S", "orders.new", "s", "_HEADGATE.all", "$KV.REVOKED.sub"} {
		if err := nc.PublishRequest("_HEADGATE.all", reply, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(ask(t, nc, "_HEADGATE.all", "x")); n != 1 { // behind all of them
		t.Errorf("%d answers", n)
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 1 || info.State.FirstSeq != 1 {
		t.Errorf("the stream has %+v, %v", info.State, err)
	}
	if n, _, _ := heard.Pending(); n != 0 {
		t.Errorf("%d answers where messages are", n)
	}
}

// Neither publish routes nor sources reach the subjects of operators, by whatever way a name gets here.
func TestService_IsOutOfReachOfRoutes(t *testing.T) {
	ns := startNATS(t, devnats.Options{})
	asked := make(chan struct{}, 10)
	r, _ := controlled(t, ns.URL(), func(c *config.Config) { c.Auth.RevocationBucket, c.Limit.Topics = "", 100 },
		Endpoint{Name: "kick", Everybody: true, Answer: func(context.Context, string, []byte, int) ([]byte, error) { asked <- struct{}{}; return nil, nil }})
	eventually(t, "the bridge to connect", func() bool { return r.Health().Connected })
	if _, err := r.Publish(t.Context(), "_HEADGATE.kick", nil, []byte("{}")); !errors.Is(err, flow.ErrRefused) {
		t.Errorf("publish: %v", err)
	}
	for _, s := range []string{"_HEADGATE.>", "_HEADGATE.kick", "$SRV.>"} {
		_, err := r.Open(t.Context(), flow.Request{Sources: []flow.Spec{{Name: "s", Subjects: []string{s}}}})
		if !errors.Is(err, flow.ErrRefused) {
			t.Errorf("open %s: %v", s, err)
		}
	}
	select {
	case <-asked:
		t.Error("a publish reached the operators' subject")
	default:
	}
}
