package e2e_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/fault"
	"headgate/e2e/internal/stack"
)

// shown is an expression: how many rows with a publisher's event are shown.
const shown = `document.querySelectorAll("#rows .row.event").length`

func (c *console) choose(id, value string) {
	c.t.Helper()
	choose(c.t, c.Page, id, value)
}

// fill writes a text into a box as typing does.
func (c *console) fill(id, text string) {
	c.t.Helper()
	c.do(fmt.Sprintf(`{ const box = document.getElementById(%q); box.value = %q; box.dispatchEvent(new Event("input", {bubbles: true})) }`, id, text))
}

func TestConsole_PublishesWithTheTokenOfItsBox(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret.txt")
	must(t, os.WriteFile(secret, []byte(sharedSecret+"\n"), 0o600))
	g := startWith(t, stack.Options{Args: []string{"-dev"}, Routes: `
version: 1
routes:
  - name: mine
    path: /v1/mine
    source: {type: core, subject: "users.{claims.sub}.notes"}
    publish: {subject: "users.{claims.sub}.notes"}
`}, "AUTH_MODE", "jwt", "AUTH_ISSUER", "e2e", "AUTH_AUDIENCE", "headgate", "AUTH_SECRET_FILE", secret)
	net := fault.New(t, g.Addr)
	c := &console{Page: browser.New(t), t: t, gate: g}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, c.Open(ctx, net.URL()+"/console/#route=mine"))
	c.until(`document.getElementById("route").options.length > 0`)
	publish := `document.getElementById("body").value = "mine"; document.getElementById("publish").requestSubmit()`
	c.do(publish)
	c.until(`document.getElementById("publish-answer").textContent.startsWith("401")`)

	token := signed(fmt.Sprintf(`{"iss":"e2e","aud":"headgate","sub":"ann","exp":%d,"nats":{"pub":{"allow":["users.ann.>"]},"sub":{"allow":["users.ann.>"]}}}`,
		time.Now().Add(time.Hour).Unix()))
	c.paste(token)
	c.click("connect")
	c.until(row("$ready", "confirmed"))
	c.do(publish)
	c.until(row("message", "mine") + ` && document.getElementById("publish-answer").textContent.startsWith("202")`)
	c.do(`navigator.clipboard.writeText = async (text) => { window.copied = text }`)
	c.click("copy-publish")
	var copied string
	c.eval(`copied`, &copied)
	if !strings.HasPrefix(copied, `curl -H "Authorization: Bearer $TOKEN" -H `) || strings.Contains(copied, token) {
		t.Errorf("the line for a shell is %s", copied)
	}
	if sent := strings.Join(net.Requests(), ""); strings.Count(sent, token) != 2 || strings.Count(sent, "POST /v1/mine") != 2 {
		t.Errorf("sent:\n%s", sent)
	}
}

// signed is a token with these claims.
func signed(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode([]byte(claims))
	mac := hmac.New(sha256.New, []byte(sharedSecret))
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

func TestConsole_FiltersByEventAndByText(t *testing.T) {
	t.Parallel()
	c := openConsole(t, "#route=typed&p.user=ann&connect=1")
	c.until(row("$ready", "confirmed"))
	for _, m := range [][2]string{{"mail", "one"}, {"alert", "two"}, {"mail", "three"}} {
		c.publish(t, "users.ann.notify."+m[0], m[1])
	}
	c.until(shown + " === 3")
	c.choose("filter-type", "=mail")
	c.until(shown + " === 2 && !" + row("alert", "two") + " && !" + row("$ready", ""))
	c.publish(t, "users.ann.notify.alert", "four") // hidden as it comes, and kept
	c.publish(t, "users.ann.notify.mail", "five")
	c.until(shown + " === 3 && " + row("mail", "five"))
	c.fill("filter", "THREE")
	c.until(shown + " === 1 && " + row("mail", "three"))
	c.choose("filter-type", "own")
	c.fill("filter", "")
	c.until(shown + " === 0 && " + row("$ready", "confirmed"))
	c.choose("filter-type", "gaps")
	c.until(`document.getElementById("rows").childElementCount === 0 && document.getElementById("empty-text").textContent.includes("filter")`)
	c.choose("filter-type", "")
	c.until(shown + " === 5")

	// Paused, the table holds still and counts; cleared, it begins anew.
	c.do(`document.activeElement.blur()`)
	c.press("p")
	c.until(`document.getElementById("pause").getAttribute("aria-pressed") === "true"`)
	c.publish(t, "users.ann.notify.mail", "six")
	c.until(`document.getElementById("more").textContent.startsWith("1 new") && ` + shown + " === 5")
	c.press("p")
	c.until(shown + " === 6")
	c.press("/")
	c.until(`document.activeElement.id === "filter"`)
	c.press("p") // a letter like any other
	c.until(`document.getElementById("pause").getAttribute("aria-pressed") === "false"`)
	c.fill("filter", "")
	c.click("clear")
	c.until(shown + ` === 0 && document.getElementById("n-events").textContent === "7"`)
}

func TestConsole_TheLogIsDownloadedAsNDJSON(t *testing.T) {
	t.Parallel()
	c, s := openStored(t, "#route=orders&p.region=eu&connect=1")
	c.until(row("$ready", "confirmed"))
	for i := range 3 {
		s.order(t, "eu", fmt.Sprint(i+1))
	}
	c.until(shown + " === 3")
	dir := t.TempDir()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, c.Downloads(ctx, dir))
	c.choose("filter-type", "=order")
	c.click("download")
	var file string
	must(t, stack.Poll(ctx, func() error {
		found, _ := filepath.Glob(filepath.Join(dir, "*.ndjson"))
		if len(found) != 1 {
			return fmt.Errorf("files: %q", found)
		}
		file = found[0]
		return nil
	}))
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	var got []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var line struct {
			Time            time.Time
			Event, ID, Data json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Time.IsZero() {
			t.Errorf("%v: %s", err, lines.Text())
		}
		got = append(got, string(line.Event)+string(line.Data)+fmt.Sprint(strings.HasPrefix(string(line.ID), `"1~`)))
	}
	if want := []string{`"order"1true`, `"order"2true`, `"order"3true`}; fmt.Sprint(got) != fmt.Sprint(want) || !strings.HasPrefix(filepath.Base(file), "orders-") {
		t.Errorf("%s has %q, not %q", file, got, want)
	}

	// As a line for a shell, the stream goes on behind what has been seen.
	c.do(`navigator.clipboard.writeText = async (text) => { window.copied = text }`)
	c.click("copy-curl")
	var copied, last string
	c.eval(`copied`, &copied)
	c.eval(`document.getElementById("last").textContent`, &last)
	if want := fmt.Sprintf("curl -N -H 'Last-Event-ID: %s' %s/v1/orders/eu", last, c.URL); copied != want {
		t.Errorf("the line is %s, not %s", copied, want)
	}
}

func TestConsole_KeepsItsSettingsAndNoSecret(t *testing.T) {
	t.Parallel()
	c, _ := openIdentified(t)
	token := jwtFor("ann", time.Hour)
	c.paste(token)
	c.click("connect")
	c.until(row("$ready", "confirmed"))
	c.click("show-beats")
	c.click("wrap")
	c.choose("theme", "dark")
	c.click("tab-fetch")
	c.until(`getComputedStyle(document.body).backgroundColor === "rgb(14, 19, 24)"`)
	ctx, cancel := soon(t)
	defer cancel()
	var url, kept string
	c.eval(`location.origin + "/console/"`, &url)
	must(t, c.Open(ctx, "about:blank"))
	must(t, c.Open(ctx, url))
	c.until(`document.getElementById("route").value === "me" && !document.getElementById("show-beats").checked && document.getElementById("wrap").checked`)
	c.until(`document.documentElement.dataset.theme === "dark" && document.getElementById("tab-fetch").getAttribute("aria-selected") === "true"`)
	c.until(`document.getElementById("state").dataset.state === "idle" && document.getElementById("token").value === ""`)
	c.eval(`JSON.stringify({...localStorage})`, &kept)
	if strings.Contains(kept, token[:20]) || !strings.Contains(kept, "headgate-console") || strings.Count(kept, "headgate") != 1 {
		t.Errorf("kept: %s", kept)
	}
	// What somebody else has written there breaks nothing.
	for _, rubbish := range []string{"{", "null", "7", `{"theme":"neon","beats":"x","wrap":1,"snippet":"perl","stream":"route=gone","publish":{}}`} {
		c.do(fmt.Sprintf(`localStorage.setItem("headgate-console", %q)`, rubbish))
		must(t, c.Open(ctx, url+"?"+fmt.Sprint(time.Now().UnixNano())))
		c.until(`document.getElementById("route").value === "me" && document.getElementById("show-beats").checked && document.getElementById("theme").value === "auto"`)
		c.until(`document.getElementById("snippet").textContent.startsWith("curl")`)
	}
	if said := c.Said(); len(said) != 0 {
		t.Errorf("the page complains: %q", said)
	}
}

func TestConsole_ShowsJSONAsItCame(t *testing.T) {
	t.Parallel()
	c := openConsole(t, "#route=prices&p.symbol=ACME&connect=1")
	c.until(row("$ready", "confirmed"))
	c.publish(t, "prices.ACME", `{"n":12345678901234567890,"a":1,"a":[{},[],"x:\"y,{"],"<b>":null}`)
	c.until(row("price", "12345678901234567890"))
	c.do(`document.querySelector("#rows .row.event").click()`)
	const want = "{\n  \"n\": 12345678901234567890,\n  \"a\": 1,\n  \"a\": [\n    {},\n    [],\n    \"x:\\\"y,{\"\n  ],\n  \"<b>\": null\n}"
	var got, kinds string
	c.eval(`document.querySelector("#rows .detail pre").textContent`, &got)
	c.eval(`[...document.querySelectorAll("#rows .detail pre span")].map((s) => s.className.slice(5)).join(" ")`, &kinds)
	if got != want || kinds != "key number key number key text key word" {
		t.Errorf("%s\n%s", got, kinds)
	}
}

// The tab's title is what is seen of the page all day.
func TestConsole_TheTitleTellsHowTheStreamIs(t *testing.T) {
	t.Parallel()
	c := openConsole(t, "#route=prices&p.symbol=ACME")
	c.until(`document.title === "headgate console"`)
	c.click("connect")
	c.until(`document.title === "● prices – headgate console" && /^for \d+ s$/.test(document.getElementById("state-for").textContent)`)
	c.Kill()
	c.until(`document.title === "○ prices – headgate console" && document.getElementById("state-text").textContent.includes("Reconnecting in")`)
	c.Restart(t)
	c.until(`document.title === "● ▲1 prices – headgate console" && document.getElementById("n-reconnects").textContent !== "0"`)
}

// A burst of events, some of them large, neither stops the page nor fills the memory.
func TestConsole_AnswersWhileEventsPourIn(t *testing.T) {
	c := openConsole(t, "#route=prices&p.symbol=ACME&connect=1")
	c.until(row("$ready", "confirmed"))
	c.do(`window.longest = 0; new PerformanceObserver((list) => { for (const e of list.getEntries()) longest = Math.max(longest, e.duration) }).observe({type: "longtask"})`)
	const events = 30_000
	for i := range events {
		must(t, c.pub.Publish("prices.ACME", fmt.Appendf(nil, `{"n":%d,"text":"%0100d"}`, i, i)))
	}
	c.until(row("price", fmt.Sprintf(`{"n":%d,`, events-1)))
	var longest float64
	c.eval(`longest`, &longest)
	t.Logf("the longest task took %.0f ms", longest)
	if longest > 2000 { // of a busy machine; 100 ms otherwise
		t.Errorf("the page stood still for %.0f ms", longest)
	}
	var kept struct{ Many, Large, Size int }
	c.eval(`import("./log.js").then(({ Log }) => {
		const log = new Log(() => {});
		const event = (data) => log.add({ at: Date.now(), kind: "event", type: "x", id: "", data });
		for (let i = 0; i < 20000; i++) event("small");
		const many = log.entries.length;
		log.clear();
		for (let i = 0; i < 200; i++) event("x".repeat(1 << 20));
		return { many, large: log.entries.length, size: log.entries.reduce((sum, e) => sum + e.data.length, 0) };
	})`, &kept)
	if kept.Many < 4000 || kept.Many > 8000 || kept.Large < 16 || kept.Size > 33<<20 {
		t.Errorf("in memory: %+v", kept)
	}
}
