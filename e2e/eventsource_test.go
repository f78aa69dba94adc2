package e2e_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"headgate/e2e/internal/fault"
	"headgate/e2e/internal/stack"
)

// page starts headgate, a recorder whose origin may read, and a network between them that the test can break.
func page(t *testing.T, env ...string) (*gate, *recorder, *fault.Proxy) {
	t.Helper()
	r := newRecorder(t)
	g := startWith(t, stack.Options{Routes: routesFor(r.origin)}, append([]string{
		"SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms", "SSE_OVERLOAD_RETRY", "100ms", "SSE_OVERLOAD_JITTER", "50ms"}, env...)...)
	return g, r, fault.New(t, g.Addr)
}

func TestChromium_OpensAStreamOfAnotherOriginAndGetsNamedEvents(t *testing.T) {
	t.Parallel()
	g, r, net := page(t)
	r.connect(t, net.URL()+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "$ready"}`, 0)
	g.publish(t, "prices.ACME", "41.5")
	r.wait(t, `{type: "price", data: "41.5"}`, 0)

	all := r.all(t)
	if all[0].Type != "open" || all[1].Type != "$ready" {
		t.Errorf("the stream began with %s, %s, not with open, $ready", all[0].Type, all[1].Type)
	}
	var ready struct{ Connection, Route, Position string }
	must(t, json.Unmarshal([]byte(text(all[1].Data)), &ready))
	if ready.Route != "prices" || ready.Position != "live" || ready.Connection == "" {
		t.Errorf("$ready says %+v", ready)
	}
}

func TestChromium_TakesTheEventTypeFromTheSubject(t *testing.T) {
	t.Parallel()
	g, r, net := page(t)
	r.connect(t, net.URL()+"/v1/typed/ann", "mention", "invite")
	r.wait(t, `{type: "$ready"}`, 0)
	g.publish(t, "users.ann.notify.mention", "1")
	g.publish(t, "users.bob.notify.mention", "not for ann")
	g.publish(t, "users.ann.notify.invite", "2")
	r.wait(t, `{type: "invite", data: "2"}`, 0)
	if got := dataOf(of(r.all(t), "mention")); got != "1" {
		t.Errorf("mentions %s, not 1", got)
	}
}

func TestChromium_TakesTheEventTypeFromTheMessageWhereTheRouteFixesNone(t *testing.T) {
	t.Parallel()
	g, r, net := page(t)
	r.connect(t, net.URL()+"/v1/rooms/1", "joined")
	r.wait(t, `{type: "$ready"}`, 0)
	g.publish(t, "rooms.1", "ann", "Sse-Event", "joined")
	r.wait(t, `{type: "joined", data: "ann"}`, 0)
}

func TestChromium_DoesNotFireThePagesOwnHandlersForReservedTypes(t *testing.T) {
	t.Parallel()
	g, r, net := page(t)
	r.connect(t, net.URL()+"/v1/rooms/1")
	r.wait(t, `{type: "$ready"}`, 0)
	for _, reserved := range []string{"error", "open", "$end", "$ready"} {
		g.publish(t, "rooms.1", "from "+reserved, "Sse-Event", reserved)
		r.wait(t, `{type: "message", data: "from `+reserved+`"}`, 0)
	}
	all := r.all(t)
	if len(of(all, "error")) != 0 || len(of(all, "open")) != 1 || len(of(all, "$end")) != 0 || len(of(all, "$ready")) != 1 {
		t.Errorf("a publisher fired a reserved event: %v", r.texts())
	}
}

func TestChromium_GetsEveryLineOfMultiLineData(t *testing.T) {
	t.Parallel()
	g, r, net := page(t)
	r.connect(t, net.URL()+"/v1/rooms/1")
	r.wait(t, `{type: "$ready"}`, 0)
	for sent, want := range map[string]string{
		"a\nb":                                  `a\nb`,
		"one\r\ntwo\rthree\n":                   `one\ntwo\nthree\n`,
		"id: 7\nevent: x\n\ny":                  `id: 7\nevent: x\n\ny`,
		"":                                      ``,
		"grüße, 世界 \U0001f680":                  "grüße, 世界 \U0001f680",
		" leading space":                        " leading space",
		strings.Repeat("x", 200_000) + "\nlast": strings.Repeat("x", 200_000) + `\nlast`,
	} {
		from := len(r.all(t))
		g.publish(t, "rooms.1", sent)
		r.wait(t, `{type: "message", data: "`+want+`"}`, from)
	}
}

func TestChromium_ComesBackAfterACutAndMissesNothing(t *testing.T) {
	t.Parallel()
	g, r, net := page(t)
	r.connect(t, net.URL()+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "$ready"}`, 0)
	g.publish(t, "prices.ACME", "1")
	r.wait(t, `{type: "price", data: "1"}`, 0)
	last := text(of(r.all(t), "price")[0].ID)
	if last == "" {
		t.Fatal("the event carried no id")
	}

	net.Refuse()
	net.Cut()
	r.wait(t, `{type: "error"}`, 0)
	g.publish(t, "prices.ACME", "2")
	g.publish(t, "prices.ACME", "3")
	net.Accept()

	r.wait(t, `{type: "price", data: "3"}`, 0)
	ctx, cancel := soon(t)
	defer cancel()
	if err := net.WaitRequest(ctx, "GET /v1/prices/ACME", "Last-Event-ID: "+last+"\r\n"); err != nil {
		t.Errorf("no request with Last-Event-ID %s: %q", last, net.Requests())
	}
	all := r.all(t)
	if got := dataOf(of(all, "price")); got != "1 2 3" {
		t.Errorf("prices %s, not 1 2 3 once each", got)
	}
	if gaps := of(all, "$gap"); len(gaps) != 0 {
		t.Errorf("%d gaps though nothing was lost: %s", len(gaps), dataOf(gaps))
	}
	ready := of(all, "$ready")
	if len(ready) != 2 || !strings.Contains(text(ready[1].Data), `"replay"`) {
		t.Errorf("$ready after the cut does not say replay: %s", dataOf(ready))
	}
	if len(of(all, "$live")) != 1 {
		t.Errorf("no $live after the replay")
	}
}

func TestChromium_ComesBackAfterACutBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	g, r, net := page(t)
	r.connect(t, net.URL()+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "$ready"}`, 0)
	net.Refuse()
	net.Cut()
	r.wait(t, `{type: "error"}`, 0)
	g.publish(t, "prices.ACME", "while away")
	net.Accept()
	r.wait(t, `{type: "price", data: "while away"}`, 0)
	all := r.all(t)
	if len(of(all, "price")) != 1 || len(of(all, "$gap")) != 0 {
		t.Errorf("not exactly the one event: %v", r.texts())
	}
}

func TestChromium_OutlastsANetworkThatStallsForAWhile(t *testing.T) {
	t.Parallel()
	g, r, net := page(t, "SSE_HEARTBEAT", "1s")
	r.connect(t, net.URL()+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "$ready"}`, 0)
	net.Stall()
	var want []string
	for i := range 200 {
		want = append(want, strconv.Itoa(i))
		g.publish(t, "prices.ACME", want[i])
	}
	net.Flow()
	r.wait(t, `{type: "price", data: "199"}`, 0)
	all := r.all(t)
	if got := dataOf(of(all, "price")); got != strings.Join(want, " ") {
		t.Errorf("not every event once and in order: %s", got)
	}
	if len(of(all, "error"))+len(of(all, "$gap")) != 0 {
		t.Errorf("a stall of a moment ended the stream: %v", r.texts())
	}
}

// Over HTTP/1.1 a browser opens six connections to a host, and the seventh EventSource waits for ever. HTTP/2 has no such bound.
func TestChromium_HoldsManyStreamsOverOneHTTP2Connection(t *testing.T) {
	t.Parallel()
	const streams = 12
	r := newRecorder(t)
	g := startWith(t, stack.Options{Routes: routesFor(r.origin), TLS: stack.NewCertificate(t)})
	net := fault.New(t, g.Addr)
	for range streams {
		r.connect(t, "https://"+net.Addr()+"/v1/prices/ACME", "price")
	}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Wait(ctx, fmt.Sprintf(`seen.filter((e) => e.type === "$ready").length === %d`, streams)))
	g.publish(t, "prices.ACME", "41.5")
	must(t, r.Wait(ctx, fmt.Sprintf(`seen.filter((e) => e.type === "price" && e.data === "41.5").length === %d`, streams)))
	if n := len(net.Requests()); n > 6 { // so many it opens before it knows that one is enough
		t.Errorf("the browser opened %d connections", n)
	}
}

func TestChromium_IsToldWhenAMessageIsGone(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	small := strings.Replace(routesFor(r.origin), "event: {type: price}", "event: {type: price}\n    resume: {max_events: 2, max_age: 1m}", 1)
	g := startWith(t, stack.Options{Routes: small}, "SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms")
	net := fault.New(t, g.Addr)
	r.connect(t, net.URL()+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "$ready"}`, 0)
	net.Refuse()
	net.Cut()
	r.wait(t, `{type: "error"}`, 0)
	for _, price := range []string{"1", "2", "3", "4", "5"} {
		g.publish(t, "prices.ACME", price)
	}
	net.Accept()
	r.wait(t, `{type: "$gap"}`, 0)
	g.publish(t, "prices.ACME", "6")
	r.wait(t, `{type: "price", data: "6"}`, 0)
	if gaps := of(r.all(t), "$gap"); len(gaps) != 1 {
		t.Errorf("%d gaps, not one: %s", len(gaps), dataOf(gaps))
	}
}

func TestChromium_IsRefusedWhenItsOriginIsNotAllowed(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	g := start(t) // allows https://app.example only
	r.connect(t, g.URL+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "error", state: 2}`, 0)
	if all := r.all(t); len(all) != 1 {
		t.Errorf("a page of a foreign origin saw %v", r.texts())
	}
}

func TestChromium_KeepsTryingWhileTheRouteIsFull(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	full := strings.Replace(routesFor(r.origin), "event: {type: price}", "event: {type: price}\n    limits: {connections: 1}", 1)
	g := startWith(t, stack.Options{Routes: full}, "SSE_OVERLOAD_RETRY", "100ms", "SSE_OVERLOAD_JITTER", "50ms")
	first := open(t, g.URL+"/v1/prices/ACME")
	r.connect(t, g.URL+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "$end"}`, 0)
	from := len(r.all(t))
	r.wait(t, `{type: "$end"}`, from) // it has come back by itself
	var end struct {
		Reason, Cause string
		Reconnect     bool
	}
	must(t, json.Unmarshal([]byte(text(of(r.all(t), "$end")[0].Data)), &end))
	if end.Reason != "overloaded" || end.Cause != "cap" || !end.Reconnect {
		t.Errorf("$end says %+v", end)
	}
	first.Close()
	r.wait(t, `{type: "$ready"}`, 0)
	g.publish(t, "prices.ACME", "41.5")
	r.wait(t, `{type: "price", data: "41.5"}`, 0)
}

func TestChromium_GivesUpOnAStatus(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	full := strings.Replace(routesFor(r.origin), "event: {type: price}",
		"event: {type: price}\n    limits: {connections: 1}\n    on_overload: status", 1)
	g := startWith(t, stack.Options{Routes: full})
	open(t, g.URL+"/v1/prices/ACME")
	r.connect(t, g.URL+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "error", state: 2}`, 0)
}

func TestChromium_GetsInAsSoonAsNATSIsThere(t *testing.T) {
	t.Parallel()
	r := newRecorder(t)
	server := stack.NewNATS(t, "")
	h := stack.StartHeadgate(t, stack.Options{NATS: server.URL(), Routes: routesFor(r.origin), Live: true, Env: map[string]string{
		"SSE_OVERLOAD_RETRY": "100ms", "SSE_OVERLOAD_JITTER": "50ms", "NATS_RECONNECT_WAIT": "100ms", "NATS_RECONNECT_JITTER": "50ms"}})
	r.connect(t, h.URL+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "$end"}`, 0)
	if end := text(of(r.all(t), "$end")[0].Data); !strings.Contains(end, `"upstream"`) {
		t.Errorf("$end while NATS is away: %s", end)
	}
	server.Start(t)
	r.wait(t, `{type: "$ready"}`, 0)
	g := &gate{Headgate: h, nats: server, pub: server.Connect(t)}
	g.publish(t, "prices.ACME", "41.5")
	r.wait(t, `{type: "price", data: "41.5"}`, 0)
}

func TestChromium_KeepsItsIDOnAnIdleStreamByHeartbeats(t *testing.T) {
	t.Parallel()
	g, r, net := page(t, "SSE_HEARTBEAT", "1s")
	r.connect(t, net.URL()+"/v1/prices/ACME", "price")
	r.wait(t, `{type: "$ready"}`, 0)
	ready := text(of(r.all(t), "$ready")[0].ID)
	other := open(t, g.URL+"/v1/prices/OTHER")
	g.publish(t, "prices.OTHER", "moves the position of the connection to NATS")
	until(t, other, "price")

	// A heartbeat carries the new position; the page comes back with it, though it has seen no event since $ready.
	ctx, cancel := soon(t)
	defer cancel()
	var moved string
	must(t, net.Wait(ctx, func() bool {
		moved = lastIDLine(strings.Join(net.Answers(), ""))
		return moved != "" && moved != ready
	}))
	net.Cut()
	if err := net.WaitRequest(ctx, "Last-Event-ID: "+moved+"\r\n"); err != nil {
		t.Errorf("no request with the heartbeat's id %s: %q", moved, net.Requests())
	}
}

// lastIDLine is the value of the last complete id line in bytes off the wire.
func lastIDLine(wire string) string {
	i := strings.LastIndex(wire, "\nid: ")
	if i < 0 {
		return ""
	}
	id, _, ok := strings.Cut(wire[i+len("\nid: "):], "\n")
	if !ok {
		return ""
	}
	return strings.TrimSpace(id)
}

func dataOf(list []seen) string {
	var out []string
	for _, e := range list {
		out = append(out, text(e.Data))
	}
	return strings.Join(out, " ")
}
