//go:build !nodev

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate/internal/devnats"
)

func TestDev_ARealMessageOfARealNATSArrivesWithNothingButTheProgram(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	prices := p.open("/v1/prices/ACME")
	for range 3 {
		e := prices.next("price")
		var price struct {
			Symbol string
			Price  float64
		}
		if err := json.Unmarshal([]byte(e.Data), &price); err != nil || price.Symbol != "ACME" || price.Price <= 0 {
			t.Fatalf("event %+v: %v", e, err)
		}
		if e.ID == "" {
			t.Errorf("event without an id: %+v", e)
		}
	}
	if e := p.open("/v1/analytics").next("analytics"); !strings.Contains(e.Data, `"streams":`) {
		t.Errorf("analytics: %+v", e)
	}
	if e := p.open("/v1/feed?subject=demo.prices.*").next("message"); !strings.Contains(e.Data, "demo.prices.") {
		t.Errorf("feed: %+v", e)
	}
}

func TestDev_HasAStreamABucketAndAJobThatEnds(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	orders := p.open("/v1/orders/eu")
	first := orders.next("$snapshot").ID
	var last int
	for range 3 { // one after the other, so that a hole on a page would be one of ours
		var order struct{ Order int }
		e := orders.next("order")
		if err := json.Unmarshal([]byte(e.Data), &order); err != nil || e.ID == "" || last != 0 && order.Order != last+1 {
			t.Fatalf("after order %d: %+v, %v", last, e, err)
		}
		last = order.Order
	}
	again := p.open("/v1/orders/eu?last-event-id=" + first)
	again.next("order")
	again.next("$live")
	if e := p.open("/v1/flags/prod").next("put"); !strings.Contains(e.Data, `"key":"prod.`) {
		t.Errorf("flags: %+v", e)
	}
	job := p.open("/v1/jobs/1")
	if e := job.next("progress"); !strings.Contains(e.Data, `"percent":`) {
		t.Errorf("job: %+v", e)
	}
}

func TestDev_MakesNoStreamsInANATSOfYourOwn(t *testing.T) {
	nats, err := devnats.Start(devnats.Options{JetStream: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nats.Shutdown()
	p := start(t, base("NATS_URL="+nats.URL()), "-dev").listening()
	p.ready()
	p.open("/v1/prices/ACME").next("price") // the demo has had its first round
	if status, body := p.get(p.public + "/v1/orders/eu"); !strings.Contains(body, "source") {
		t.Errorf("a stream that is not there: %d %s", status, body)
	}
	info, err := nats.NATS().Jsz(nil)
	if err != nil || info.Streams != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestDev_WhatIsPostedArrivesAtTheStreamsItIsMeantFor(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	p.ready()
	everybody, bob := p.open("/v1/broadcast"), p.open("/v1/users/bob/notifications")
	p.post("/v1/broadcast", "hello, all")
	if e := everybody.next("message"); e.Data != "hello, all" {
		t.Errorf("broadcast: %+v", e)
	}
	p.post("/v1/users/carol/notify/test", "not for bob")
	p.post("/v1/users/bob/notify/test", "for bob")
	if e := bob.next("test"); e.Data != "for bob" {
		t.Errorf("notification: %+v", e)
	}
}

func TestDev_AProblemShowsThePatternAsItWasWritten(t *testing.T) {
	p := start(t, base(), "-dev").listening()
	status, body := p.get(p.public + "/v1/prices/acme")
	if status != http.StatusBadRequest || !strings.Contains(body, "{symbol} must match [A-Z]{1,6}.") {
		t.Errorf("%d %s", status, body)
	}
}

func TestDev_ServesRoutesOfYourOwnAndLeavesTheirSubjectsAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "routes.yaml")
	routes := "version: 1\nroutes:\n  - name: own\n    path: /own/{who}\n    source: {type: core, subject: \"own.{who}\"}\n    publish: {subject: \"own.{who}\"}\n"
	if err := os.WriteFile(file, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, base("ROUTES_FILE="+file), "-dev").listening()
	p.ready()
	own := p.open("/own/me")
	p.post("/own/me", "mine")
	if e := own.next("message"); e.Data != "mine" {
		t.Errorf("%+v", e)
	}
	if status, _ := p.get(p.public + "/v1/analytics"); status != http.StatusNotFound {
		t.Errorf("a demo route is served: %d", status)
	}
}
