package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/fault"
	"headgate/e2e/internal/stack"
)

// console opens the console page of a headgate in -dev with the common routes, over a network that the test can break.
func console(t *testing.T) (*gate, *browser.Page, *fault.Proxy) {
	t.Helper()
	g := startWith(t, stack.Options{Routes: routesFor("https://app.example"), Args: []string{"-dev"}},
		"SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms")
	net := fault.New(t, g.Addr)
	p := browser.New(t)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Open(ctx, net.URL()+"/console/"))
	sees(t, p, `document.querySelectorAll("#route option").length === 4`)
	return g, p, net
}

// tabTo presses Tab until the element with that id has the focus.
func tabTo(t *testing.T, p *browser.Page, id string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	var way []string
	for range 60 {
		var now string
		must(t, p.Eval(ctx, `document.activeElement.id || document.activeElement.tagName`, &now))
		if now == id {
			return
		}
		way = append(way, now)
		must(t, p.Press(ctx, "Tab"))
	}
	t.Fatalf("Tab does not lead to #%s but over %v", id, way)
}

func press(t *testing.T, p *browser.Page, keys ...string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	for _, key := range keys {
		must(t, p.Press(ctx, key))
	}
}

// choose picks a route and fills in its parameter, as a user's change does.
func choose(t *testing.T, p *browser.Page, route, param, value string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Eval(ctx, fmt.Sprintf(`document.querySelector("#route").value = %q,
		document.querySelector("#route").dispatchEvent(new Event("change", {bubbles: true})),
		document.querySelector("#p-%s").value = %q,
		document.querySelector("#p-%s").dispatchEvent(new Event("input", {bubbles: true})), 0`, route, param, value, param), nil))
}

func row(text string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#rows .row")].some(r => r.innerText.includes(%q))`, text)
}

func TestConsole_ConnectsCutsAndReconnectsFromTheKeyboard(t *testing.T) {
	g, p, _ := console(t)
	choose(t, p, "prices", "symbol", "ACME")
	tabTo(t, p, "connect")
	press(t, p, "Enter")
	sees(t, p, `document.querySelector("#state").dataset.state === "open"`)
	g.publish(t, "prices.ACME", "41.5")
	sees(t, p, row("41.5"))

	tabTo(t, p, "cut")
	press(t, p, "Enter")
	sees(t, p, `document.querySelector("#state").dataset.state === "cut"`)
	g.publish(t, "prices.ACME", "while cut")
	press(t, p, "Enter")
	sees(t, p, `document.querySelector("#state").dataset.state === "open"`)
	sees(t, p, row("while cut")) // it came back with its id

	tabTo(t, p, "grid")
	press(t, p, "ArrowDown", "Enter")
	sees(t, p, `document.querySelector("#rows .detail") !== null`)
	press(t, p, "Escape")
	sees(t, p, `document.querySelector("#rows .detail") === null`)
	quiet(t, p)
}

func TestConsole_TellsWhenTheNetworkBreaksAndComesBackByItself(t *testing.T) {
	g, p, net := console(t)
	choose(t, p, "prices", "symbol", "ACME")
	tabTo(t, p, "connect")
	press(t, p, "Enter")
	sees(t, p, `document.querySelector("#state").dataset.state === "open"`)
	net.Cut()
	sees(t, p, `Number(document.querySelector("#n-reconnects").textContent) >= 1 && document.querySelector("#state").dataset.state === "open"`)
	g.publish(t, "prices.ACME", "after the cut")
	sees(t, p, row("after the cut"))
	quiet(t, p)
}

func TestConsole_PublishesFromItsBox(t *testing.T) {
	_, p, _ := console(t)
	choose(t, p, "room", "room", "7")
	tabTo(t, p, "connect")
	press(t, p, "Enter")
	sees(t, p, `document.querySelector("#state").dataset.state === "open"`)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Eval(ctx, `document.querySelector("#q-room").value = "7", document.querySelector("#body").value = "", 0`, nil))
	tabTo(t, p, "body")
	must(t, p.Type(ctx, `<img src=x onerror="document.title = 'owned'">`))
	press(t, p, "Tab", "Enter")
	sees(t, p, `document.querySelector("#publish-answer").textContent.startsWith("202")`)
	sees(t, p, row(`<img src=x onerror=`)) // as text
	var images int
	must(t, p.Eval(ctx, `document.querySelectorAll("#rows img").length`, &images))
	if images != 0 {
		t.Error("data became an element")
	}
	quiet(t, p)
}

func TestConsole_ShowsWhyItWasRefused(t *testing.T) {
	_, p, _ := console(t)
	choose(t, p, "prices", "symbol", "lower")
	tabTo(t, p, "connect")
	press(t, p, "Enter")
	sees(t, p, `document.querySelector("#problem").innerText.includes("path parameter") && !document.querySelector("#problem").hidden`)
	quiet(t, p)
}

func TestConsole_FitsAPhone(t *testing.T) {
	g, p, _ := console(t)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Size(ctx, 360, 740, true))
	choose(t, p, "prices", "symbol", "ACME")
	must(t, p.Eval(ctx, `document.querySelector("#connect").click()`, nil))
	sees(t, p, `document.querySelector("#state").dataset.state === "open"`)
	long := strings.Repeat("long", 500)
	g.publish(t, "prices.ACME", long)
	sees(t, p, row("longlong"))
	var width struct{ Content, Window int }
	must(t, p.Eval(ctx, `({content: document.documentElement.scrollWidth, window: innerWidth})`, &width))
	if width.Content > width.Window {
		t.Errorf("the page is %d wide on a phone of %d: it scrolls sideways", width.Content, width.Window)
	}
	png, err := p.Screenshot(ctx)
	must(t, err)
	keep(t, "console-phone.png", png)
	quiet(t, p)
}

// keep writes a file into HEADGATE_E2E_KEEP, where one is given, for people to look at.
func keep(t *testing.T, name string, content []byte) {
	t.Helper()
	if dir := os.Getenv("HEADGATE_E2E_KEEP"); dir != "" {
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
}

func TestConsole_IsAbsentUnlessAskedFor(t *testing.T) {
	g := start(t)
	_, resp := talk(t, g.Addr, get("/console/"))
	if resp.StatusCode != 404 {
		t.Errorf("status %d, not 404", resp.StatusCode)
	}
}
