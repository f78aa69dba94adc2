package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/stack"
)

// console is the console page in Chromium, as -dev serves it.
type console struct {
	*browser.Page
	t *testing.T
	*gate
}

// openConsole opens the page with a fragment that says what to connect to.
func openConsole(t *testing.T, fragment string) *console {
	t.Helper()
	g := startWith(t, stack.Options{Routes: routesFor("https://app.example"), Args: []string{"-dev"}}, "SSE_HEARTBEAT", "1s")
	c := &console{Page: browser.New(t), t: t, gate: g}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, c.Open(ctx, g.URL+"/console/"+fragment))
	c.until(`document.getElementById("route").options.length > 0`)
	return c
}

func (c *console) until(expression string) {
	c.t.Helper()
	ctx, cancel := soon(c.t)
	defer cancel()
	must(c.t, c.Wait(ctx, expression))
}

func (c *console) do(expression string) {
	c.t.Helper()
	ctx, cancel := soon(c.t)
	defer cancel()
	must(c.t, c.Eval(ctx, expression+"; undefined", nil))
}

func (c *console) press(keys ...string) {
	c.t.Helper()
	ctx, cancel := soon(c.t)
	defer cancel()
	for _, k := range keys {
		must(c.t, c.Press(ctx, k))
	}
}

func (c *console) text(id string) string {
	c.t.Helper()
	ctx, cancel := soon(c.t)
	defer cancel()
	var text string
	must(c.t, c.Eval(ctx, fmt.Sprintf("document.getElementById(%q).textContent", id), &text))
	return text
}

// row is an expression: the table has a row of this event with this text.
func row(event, data string) string {
	return fmt.Sprintf(`[...document.querySelectorAll("#rows .row")].some((r) => r.querySelector(".event").textContent === %q && r.querySelector(".data").textContent.includes(%q))`, event, data)
}

const isOpen = `document.getElementById("state").dataset.state === "open"`

func TestConsole_ShowsAStreamAndResumesItAfterACut(t *testing.T) {
	c := openConsole(t, "#route=prices&p.symbol=ACME&connect=1")
	c.until(isOpen)
	c.until(row("$ready", "confirmed by NATS"))
	c.publish(t, "prices.ACME", `{"price":1}`)
	c.until(row("price", `{"price":1}`))
	c.until(`document.getElementById("n-beats").textContent !== "0"`)

	c.do(`document.getElementById("cut").click()`)
	c.until(`document.getElementById("state").dataset.state === "cut"`)
	c.publish(t, "prices.ACME", `{"price":2}`)
	c.do(`document.getElementById("cut").click()`)
	c.until(row("price", `{"price":2}`))
	c.until(row("$live", "Caught up"))
	if gaps, reconnects := c.text("n-gaps"), c.text("n-reconnects"); gaps != "0" || reconnects != "1" {
		t.Errorf("%s gaps and %s reconnects, not 0 and 1", gaps, reconnects)
	}
	if said := c.Said(); len(said) != 0 {
		t.Errorf("the page complains: %q", said)
	}
}

func TestConsole_ShowsMarkupOfStrangersAsText(t *testing.T) {
	c := openConsole(t, "#route=prices&p.symbol=ACME&connect=1")
	c.until(row("$ready", "confirmed"))
	const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	c.publish(t, "prices.ACME", evil)
	c.until(row("price", evil))
	c.do(`[...document.querySelectorAll("#rows .row")].find((r) => r.textContent.includes("<img")).click()`)
	c.until(`document.querySelector("#rows .detail pre").textContent.includes("<script>")`)
	c.until(`document.querySelectorAll("#rows img, #rows script").length === 0 && document.title === "headgate console"`)
}

func TestConsole_ShowsARefusalWithItsRemedy(t *testing.T) {
	c := openConsole(t, "#route=feed&subject=secret.%3E&connect=1")
	c.until(`!document.getElementById("problem").hidden`)
	if p := c.text("problem"); !strings.Contains(p, "403") || !strings.Contains(p, "secret.>") {
		t.Errorf("the problem reads: %s", p)
	}
	if state := c.text("state-text"); !strings.Contains(state, "403") {
		t.Errorf("state: %s", state)
	}
}

func TestConsole_PublishesToAStreamItReads(t *testing.T) {
	c := openConsole(t, "#route=room&p.room=lobby&connect=1")
	c.until(row("$ready", "confirmed"))
	c.do(`document.getElementById("q-room").value = "lobby"; document.getElementById("body").value = "from the box"; document.getElementById("publish").requestSubmit()`)
	c.until(row("message", "from the box"))
	c.until(`document.getElementById("publish-answer").textContent.startsWith("202")`)
}

func TestConsole_IsUsableFromTheKeyboardAlone(t *testing.T) {
	c := openConsole(t, "#route=prices&p.symbol=ACME")
	c.do(`document.getElementById("connect").focus()`)
	c.press("Enter")
	c.until(isOpen)
	c.publish(t, "prices.ACME", `{"price":7}`)
	c.until(row("price", `{"price":7}`))
	for range 40 {
		c.press("Tab")
		ctx, cancel := soon(t)
		var there bool
		must(t, c.Eval(ctx, `document.activeElement.id === "grid"`, &there))
		cancel()
		if there {
			break
		}
	}
	c.until(`document.activeElement.id === "grid"`)
	c.press("ArrowDown", "Enter")
	c.until(`document.activeElement.getAttribute("aria-expanded") === "true"`)
	c.press("Escape")
	c.until(`document.activeElement.id === "grid" && document.querySelector("#rows .detail") === null`)
}

func TestConsole_FitsAPhone(t *testing.T) {
	c := openConsole(t, "#route=prices&p.symbol=ACME&connect=1")
	ctx, cancel := soon(t)
	defer cancel()
	must(t, c.Size(ctx, 360, 780, true))
	c.publish(t, "prices.ACME", strings.Repeat("wide", 500))
	c.until(row("price", "wide"))
	c.until(`document.documentElement.scrollWidth <= 360`)
}

func TestConsole_KeepsUpWithThousandsOfEventsASecondInABoundedPage(t *testing.T) {
	c := openConsole(t, "#route=prices&p.symbol=ACME&connect=1")
	c.until(row("$ready", "confirmed"))
	const events = 20_000
	for i := range events {
		must(t, c.pub.Publish("prices.ACME", fmt.Appendf(nil, `{"n":%d}`, i)))
	}
	c.until(row("price", fmt.Sprintf(`{"n":%d}`, events-1)))
	c.until(`document.getElementById("rows").childElementCount <= 400`)
	if n, gaps := c.text("n-events"), c.text("n-gaps"); n != "20,001" || gaps != "0" {
		t.Errorf("%s events and %s gaps", n, gaps)
	}
}

func TestConsole_WithoutDevIsServedOnlyOnRequestAndWithoutThePublishBox(t *testing.T) {
	g := start(t, "CONSOLE", "true")
	resp, err := http.Get(g.URL + "/console/routes.json")
	must(t, err)
	defer resp.Body.Close()
	c := &console{Page: browser.New(t), t: t, gate: g}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, c.Open(ctx, g.URL+"/console/"))
	c.until(`document.getElementById("route").options.length > 0`)
	c.until(`document.getElementById("publish").hidden`)
	if resp.StatusCode != http.StatusOK {
		t.Errorf("routes.json: %s", resp.Status)
	}
}
