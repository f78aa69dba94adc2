package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	t.Parallel()
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
	t.Parallel()
	c := openConsole(t, "#route=prices&p.symbol=ACME&connect=1")
	c.until(row("$ready", "confirmed"))
	const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	c.publish(t, "prices.ACME", evil)
	c.until(row("price", evil))
	c.do(`[...document.querySelectorAll("#rows .row")].find((r) => r.textContent.includes("<img")).click()`)
	c.until(`document.querySelector("#rows .detail pre").textContent.includes("<script>")`)
	c.until(`document.querySelectorAll("#rows img, #rows script").length === 0 && !document.title.includes("owned")`)
}

func TestConsole_ShowsARefusalWithItsRemedy(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
	c := openConsole(t, "#route=room&p.room=lobby&connect=1")
	c.until(row("$ready", "confirmed"))
	c.do(`document.getElementById("q-room").value = "lobby"; document.getElementById("body").value = "from the box"; document.getElementById("publish").requestSubmit()`)
	c.until(row("message", "from the box"))
	c.until(`document.getElementById("publish-answer").textContent.startsWith("202")`)
}

func TestConsole_IsUsableFromTheKeyboardAlone(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

// openStored opens the page on the routes whose events NATS keeps.
func openStored(t *testing.T, fragment string) (*console, *stored) {
	t.Helper()
	s := newStored(t)
	h := s.gate(t, "https://app.example", "CONSOLE", "true")
	c := &console{Page: browser.New(t), t: t, gate: &gate{Headgate: h, nats: s.nats}}
	c.load(fragment)
	return c, s
}

func (c *console) load(fragment string) {
	c.t.Helper()
	ctx, cancel := soon(c.t)
	defer cancel()
	must(c.t, c.Open(ctx, c.URL+"/console/?"+fmt.Sprint(time.Now().UnixNano())+fragment)) // a change of the fragment alone loads nothing
	c.until(`document.getElementById("route").options.length > 0`)
}

const isCut = `document.getElementById("state").dataset.state === "cut"`

func (c *console) click(id string) {
	c.t.Helper()
	c.do(fmt.Sprintf("document.getElementById(%q).click()", id))
}

func TestConsole_CutAndReconnectOnAStreamShowThatNothingIsLost(t *testing.T) {
	c, s := openStored(t, "#route=orders&p.region=eu&connect=1")
	c.until(row("$ready", "confirmed"))
	stop := s.shop(t)
	for i := range kills {
		c.until(fmt.Sprintf(`Number(document.getElementById("n-events").textContent.replace(",", "")) > %d`, 50*(i+1)))
		c.click("cut")
		c.until(isCut)
		c.until(`document.getElementById("last-id").value === document.getElementById("last").textContent`)
		before := c.text("n-events")
		c.click("cut")
		c.until(`document.getElementById("n-reconnects").textContent === "` + fmt.Sprint(i+1) + `"`)
		c.until(fmt.Sprintf(`document.getElementById("n-events").textContent !== %q`, before))
		c.until(row("$live", "none was lost"))
	}
	last := stop()
	c.until(fmt.Sprintf(`document.getElementById("continuity").textContent === "No hole: number 1 to %s"`, grouped(last)))
	c.until(row("order", "replayed "))
	if gaps, replayed := c.text("n-gaps"), c.text("n-replayed"); gaps != "0" || replayed == "0" {
		t.Errorf("%s gaps and %s replayed events", gaps, replayed)
	}
	if said := c.Said(); len(said) != 0 {
		t.Errorf("the page complains: %q", said)
	}
	c.picture("console-resume.png")
}

// grouped is a number as the page writes it.
func grouped(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

func (c *console) picture(name string) {
	c.t.Helper()
	ctx, cancel := soon(c.t)
	defer cancel()
	must(c.t, c.Size(ctx, 1280, 900, false))
	c.until(`innerWidth === 1280`)
	png, err := c.Screenshot(ctx)
	must(c.t, err)
	keep(c.t, name, png)
}

func TestConsole_BeginsWhereItsBoxesSay(t *testing.T) {
	t.Parallel()
	c, s := openStored(t, "#route=orders&p.region=eu&connect=1")
	for i := range 5 {
		s.order(t, "eu", fmt.Sprint(i+1))
	}
	c.until(row("order", "5"))
	var ids []string
	c.eval(`[...document.querySelectorAll("#rows .row.event")].map((r) => r.querySelector(".id").textContent).reverse()`, &ids)

	// With an id the first request has it as a parameter, and what came behind it is replayed.
	c.load("#route=orders&p.region=eu&id=" + ids[2] + "&connect=1")
	c.until(row("$live", "2 missed events have been replayed, none was lost"))
	c.until(row("order", "replayed 4") + " && " + row("order", "replayed 5") + " && !" + row("order", "3"))
	c.until(row("connected", "?last-event-id="+strings.ReplaceAll(ids[2], "~", "%7E")) + " || " + row("connected", "?last-event-id="+ids[2]))

	// Reconnect begins where the box was changed to.
	c.click("cut")
	c.until(isCut)
	c.do(fmt.Sprintf(`document.getElementById("last-id").value = %q`, ids[0]))
	c.click("cut")
	c.until(row("order", "replayed 2"))

	// An id that says nothing is a gap, with everything that it tells.
	c.load("#route=orders&p.region=eu&id=nonsense&connect=1")
	c.until(row("$gap", "not certain") + " && " + row("$gap", "unknown-position") + " && " + row("$gap", "Next: the events behind it"))

	// Since a time.
	c.load("#route=orders&p.region=eu&since=1h&connect=1")
	c.until(row("$live", "5 missed events have been replayed"))
	c.load("#route=orders&p.region=eu&since=yesterday&connect=1")
	c.until(`!document.getElementById("problem").hidden && document.getElementById("problem").textContent.includes("since")`)

	// The boxes and the rows fit a phone, and are reached with the Tab key.
	ctx, cancel := soon(t)
	defer cancel()
	must(t, c.Size(ctx, 360, 780, true))
	c.load("#route=orders&p.region=eu&since=1h&connect=1")
	c.until(row("$live", "Caught up") + ` && document.documentElement.scrollWidth <= 360`)
	c.do(`document.getElementById("last-id").focus()`)
	c.press("Tab")
	c.until(`document.activeElement.id === "since"`)
	must(t, c.Size(ctx, 1280, 900, false))

	// A bucket has no past, and so no box for it.
	c.load("#route=flags&p.env=eu")
	c.until(`document.getElementById("since-field").hidden && !document.getElementById("last-id-field").hidden`)
}

func (c *console) eval(expression string, out any) {
	c.t.Helper()
	ctx, cancel := soon(c.t)
	defer cancel()
	must(c.t, c.Eval(ctx, expression, out))
}

func TestConsole_MarksTheStateAndShowsAGapWithItsRange(t *testing.T) {
	t.Parallel()
	c, s := openStored(t, "#route=flags&p.env=eu")
	for _, key := range []string{"eu.a", "eu.b"} {
		s.put(t, key, "1")
	}
	c.click("connect")
	c.until(row("$snapshot", "2 events") + " && " + row("put", "state eu.a  1") + " && " + row("put", "state eu.b  1"))
	s.put(t, "eu.a", "2")
	c.until(row("put", "eu.a  2") + " && !" + row("put", "state eu.a  2"))
	if n := c.text("n-state"); n != "2" {
		t.Errorf("%s events of a state, not 2", n)
	}

	c.load("#route=all&connect=1")
	c.until(row("$ready", "confirmed"))
	s.order(t, "eu", "1")
	c.until(row("order", "1"))
	c.click("cut")
	c.until(isCut)
	for i := range 4 {
		s.order(t, "eu", fmt.Sprint(i+2))
	}
	ctx, cancel := soon(t)
	defer cancel()
	orders, err := s.js.Stream(ctx, "ORDERS")
	must(t, err)
	c.Kill() // what is purged stays in the memory of a headgate that has it
	must(t, orders.Purge(ctx, jetstream.WithPurgeSequence(4)))
	c.Restart(t)
	c.click("cut")
	c.until(row("$gap", "Events are missing (certain) from all, 2 to 3: expired"))
	c.until(row("order", "replayed 5") + " && " + row("$live", "a gap says what was lost"))
	c.until(`document.getElementById("n-gaps").textContent === "1"`)
	c.until(`document.getElementById("continuity").textContent.endsWith("1 gap was announced")`)
	c.picture("console-gap.png")
}

// What the page says of a stream without a hole is worth something only if it sees the others.
func TestConsole_SeesWhatIsMissingOrCameTwice(t *testing.T) {
	t.Parallel()
	c, _ := openStored(t, "#route=orders&p.region=eu")
	for name, tc := range map[string]struct{ events, says, kind string }{
		"numbers":              {`upTo(1, 30)`, "No hole: order 1 to 30", "good"},
		"a hole":               {`[...upTo(1, 12), ...upTo(15, 20)]`, "2 missing: order 1 to 20", "warn"},
		"an event twice":       {`[...upTo(1, 12), ...upTo(12, 20)]`, "1 twice: order 1 to 20", "warn"},
		"the id twice as well": {`[...upTo(1, 12), at(12)]`, "2 twice: order 1 to 12", "warn"},
		"a hole with a gap":    {`[...upTo(1, 12), null, ...upTo(15, 20)]`, "No hole: order 15 to 20; 1 gap was announced", ""},
		"numbers for others":   {`[1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13].map((n) => at(n))`, "12 in order, none twice", "good"},
		"envelopes":            {`upTo(1, 10).map((e) => ({ ...e, data: '{"subject":"a","data":' + e.data + '}' }))`, "No hole: order 1 to 10", "good"},
		"several sources":      {`["1~aaaaaa.1~bbbbbb.z", "1~aaaaaa.1~bbbbbb.10", "1~aaaaaa.2~bbbbbb.10"].map((id) => ({ hasId: true, id, data: "x" }))`, "3 in order, none twice", "good"},
		"nothing":              {`[]`, "–", ""},
	} {
		var said struct{ Text, Kind string }
		c.eval(`import("./continuity.js").then(({ Continuity }) => {
			const at = (n, id = n) => ({ hasId: true, id: "1~aaaaaa." + id.toString(36), data: JSON.stringify({ order: n }) });
			const upTo = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => at(from + i, 2 * (from + i) + from));
			const c = new Continuity();
			for (const e of `+tc.events+`) e ? c.event(e) : c.gap();
			return c.says();
		})`, &said)
		if said.Text != tc.says || said.Kind != tc.kind {
			t.Errorf("%s: %q %q, not %q %q", name, said.Text, said.Kind, tc.says, tc.kind)
		}
	}
}

func TestConsole_SaysThatAJobIsDone(t *testing.T) {
	t.Parallel()
	c, s := openStored(t, "#route=job&p.id=7&connect=1")
	c.until(row("$ready", "confirmed"))
	ctx, cancel := soon(t)
	defer cancel()
	_, err := s.js.Publish(ctx, "jobs.7", []byte(`{"status":"done"}`))
	must(t, err)
	c.until(`document.getElementById("state").dataset.state === "ended"`)
	c.until(row("$end", "done, do not reconnect"))
	c.click("cut") // reconnects
	c.until(`document.getElementById("state-text").textContent.includes("204")`)
}
