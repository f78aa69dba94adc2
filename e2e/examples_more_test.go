package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/stack"
)

func TestExample_TheLogTailFiltersByLevelAndTimeAndResumes(t *testing.T) {
	t.Setenv("NATS_URL", stack.StartNATS(t, "").URL()) // one that outlives headgate
	e := startExample(t, "log-tail")
	e.run(t, 0)
	p := e.openPage(t, "")
	shows := func(numbers ...int) { // the lines with these numbers, once each and in order, newest first
		t.Helper()
		sees(t, p, fmt.Sprintf(`JSON.stringify([...document.querySelectorAll("#tail li")].map((l) => Number(l.lastChild.textContent.split(" ")[0]))) === %q`,
			strings.ReplaceAll(fmt.Sprint(numbers), " ", ",")))
	}
	shows(12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)
	sees(t, p, `document.querySelector("#state").textContent.includes("Everything before is here")`)

	choose(t, p, "level", "warn")
	shows(12, 9, 6, 3)
	e.server.Kill()
	sees(t, p, `document.querySelector("#state").className === "lost"`)
	e.run(t, 1)
	e.restart()
	shows(18, 15, 12, 9, 6, 3) // 15 and 18 were written while nobody was there
	snap(t, p, "log-tail.png")

	choose(t, p, "since", "") // from now on
	choose(t, p, "level", "error")
	sees(t, p, `document.querySelector("#state").textContent === "Following."`)
	e.run(t, 1)
	shows(24)
	out := e.run(t, 2)
	if got := strings.Count(out, "event: line"); got != 8 || strings.Contains(out, "billing.warn") || strings.Contains(out, "debug") {
		t.Errorf("errors and warnings of the API: %d\n%s", got, out)
	}
	if out := e.run(t, 3); !strings.Contains(out, `"status":403`) {
		t.Errorf("what is outside allow:\n%s", out)
	}
	quiet(t, p)
}

// choose picks an option as a person does.
func choose(t *testing.T, p *browser.Page, id, value string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Eval(ctx, fmt.Sprintf(`{ const box = document.getElementById(%q); box.value = %q; box.dispatchEvent(new Event("change", {bubbles: true})) }`, id, value), nil))
}

func TestExample_EditorsSeeWhoElseIsThere(t *testing.T) {
	t.Parallel()
	e := startExample(t, "editing")
	ann, bob, other := e.openPage(t, "?name=ann"), e.openPage(t, "?name=bob"), e.openPage(t, "?name=dora&document=budget")
	second := e.openPage(t, "?name=ann") // the same person in another tab
	for _, p := range []*browser.Page{ann, bob, second} {
		showsText(t, p, "#people li", "ann", "bob")
	}
	showsText(t, other, "#people li", "dora")

	ctx, cancel := soon(t)
	defer cancel()
	must(t, bob.Eval(ctx, `document.querySelector("#text").focus()`, nil))
	must(t, bob.Type(ctx, "Once upon a time"))
	showsText(t, ann, "#people li", "ann", "bob is typing")
	showsText(t, ann, "#people li", "ann", "bob") // and no more, after a while

	must(t, bob.Eval(ctx, `document.querySelector("#save").click()`, nil))
	showsText(t, ann, "#notices li", "bob saved version 1: reload to see it")
	e.run(t, 1)
	for _, p := range []*browser.Page{ann, second} {
		showsText(t, p, "#notices li", "the importer saved version 7: reload to see it", "bob saved version 1: reload to see it")
	}
	e.run(t, 0)
	showsText(t, ann, "#people li", "ann", "bob", "carol", "the importer")
	snap(t, ann, "editing.png")
	showsText(t, ann, "#people li", "ann", "bob") // the shell and the store are silent, and so they are gone

	must(t, second.Open(ctx, "about:blank")) // one tab of two
	must(t, bob.Open(ctx, "about:blank"))
	showsText(t, ann, "#people li", "ann")
	showsText(t, other, "#people li", "dora")
	showsText(t, other, "#notices li")
	if out := e.run(t, 2); !strings.Contains(out, "parameter-invalid") {
		t.Errorf("a kind that is not named:\n%s", out)
	}
	quiet(t, ann)
	quiet(t, other)
}

func TestExample_TheServerTimeBeginsWithAWelcome(t *testing.T) {
	t.Parallel()
	e := startExample(t, "server-time")
	e.run(t, 0)
	p := e.openPage(t, "") // the clock has stopped: what is there comes at once, or never
	showsText(t, p, "#welcome", "Welcome! The time is that of the server, to the second.")
	sees(t, p, `/^\d\d:\d\d:\d\d$/.test(document.querySelector("#time").textContent) && document.querySelector("#ticks").textContent === "0"`)
	e.run(t, 1)
	showsText(t, p, "#welcome", "Good evening")
	showsText(t, p, "#ticks", "5")
	showsText(t, p, "#offset", "agrees")
	snap(t, p, "server-time.png")
	out := e.run(t, 2)
	order := []string{"event: $ready", "event: welcome", "event: tick", "event: $snapshot"}
	for i, next := range order {
		if at := strings.Index(out, next); at < 0 || i > 0 && at < strings.Index(out, order[i-1]) {
			t.Errorf("%s is not where it belongs:\n%s", next, out)
		}
	}
	if strings.Contains(out, "\nid: ") {
		t.Errorf("there are ids, although nothing is resumed:\n%s", out)
	}
	quiet(t, p)
}
