package e2e_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// banner starts `headgate -dev` on free ports and returns what it prints.
func banner(t *testing.T) (addr, text string) {
	t.Helper()
	must(t, stack.BuildHeadgate())
	addr = proc.FreeAddr(t)
	admin := proc.FreeAddr(t)
	p := shell(t, "exec "+stack.HeadgateBinary()+" -dev", "HTTP_ADDR="+addr, "ADMIN_ADDR="+admin)
	ctx, cancel := soon(t)
	defer cancel()
	_, err := p.WaitOutput(ctx, regexp.MustCompile(`Ctrl-C`))
	must(t, err)
	must(t, p.WaitListening(ctx, addr))
	ready(t, admin)
	return addr, p.Output()
}

// line is the banner's line after a label, from its command on.
func line(t *testing.T, text, start string) string {
	t.Helper()
	for l := range strings.Lines(text) {
		if i := strings.Index(l, start); i >= 0 {
			return strings.TrimSpace(l[i:])
		}
	}
	t.Fatalf("no %q in the banner:\n%s", start, text)
	return ""
}

func TestDev_TheBannersCommandsWorkAsTheyStand(t *testing.T) {
	t.Parallel()
	need.Program(t, "curl", "curl")
	_, text := banner(t)
	if !strings.Contains(text, "INSECURE") {
		t.Error("the banner does not warn")
	}
	prices := shell(t, line(t, text, "curl -N"))
	shows(t, prices, `event: \$ready`)
	shows(t, prices, `(event: price\n(.*\n)*){3}`) // the demo ticks
	_, rest, _ := strings.Cut(text, "curl -N")
	stream := shell(t, line(t, rest, "curl -N"))
	shows(t, stream, `event: \$ready`)
	shows(t, shell(t, line(t, text, "curl -i")), `HTTP/1\.1 202 `)
	shows(t, stream, `"Hello"`) // what was posted is on the stream
	path := "PATH=" + stack.NATSCommand(t, "nats://unused") + ":" + os.Getenv("PATH")
	pub := shell(t, line(t, text, "nats -s"), path)
	ctx, cancel := soon(t)
	defer cancel()
	code, err := pub.Wait(ctx)
	must(t, err)
	if code != 0 {
		t.Errorf("nats pub: %s", pub.Output())
	}
	shows(t, stream, `"Hello"(.*\n)+.*"Hello"`) // and what `nats pub` sent too

	resumed := shell(t, line(t, text, "id=$("))
	shows(t, resumed, `event: \$ready\ndata: .*"replay"(.*\n)*event: order\n(.*\n)*event: \$live\n`)
	if strings.Contains(resumed.Output(), "$gap") {
		t.Errorf("the line that resumes has a gap:\n%s", resumed.Output())
	}
}

// The newcomer's way to a private stream: the banner's line, and its token pasted into the console.
func TestDev_ThePrivateRouteIsOneLineAway(t *testing.T) {
	t.Parallel()
	need.Program(t, "curl", "curl")
	addr, text := banner(t)
	private := line(t, text, "curl -N -H \"Authorization")
	stream := shell(t, private)
	shows(t, stream, `event: \$ready\n.*"mine"`)
	notify := func() {
		shows(t, shell(t, "curl -i -d '{\"text\":\"for alice\"}' http://"+addr+"/v1/users/alice/notify/mention"), `HTTP/1\.1 202 `)
	}
	notify() // the demo does so too, now and then
	shows(t, stream, `event: mention\n.*for alice`)
	_, target, _ := strings.Cut(private, ")\" ")
	shows(t, shell(t, "curl -i "+target), `HTTP/1\.1 401 (.*\n)*(?i:www-authenticate: bearer)`)

	command, _, _ := strings.Cut(line(t, text, stack.HeadgateBinary()+" token -sub alice -for"), "   ")
	made := shell(t, command)
	ctx, cancel := soon(t)
	defer cancel()
	_, err := made.Wait(ctx)
	must(t, err)
	p := browser.New(t)
	must(t, p.Open(ctx, "http://"+addr+"/console/#route=mine"))
	sees(t, p, `document.querySelectorAll("#route option").length > 0 && document.querySelector("#token-command").textContent.endsWith("token -sub alice")`)
	must(t, p.Eval(ctx, `document.querySelector("#connect").click()`, nil))
	sees(t, p, `document.querySelector("#problem").textContent.includes("401")`)
	must(t, p.Eval(ctx, `document.querySelector("#token").focus()`, nil))
	must(t, p.Type(ctx, made.Output()))
	sees(t, p, `/^Good for (1 min|2 min)/.test(document.querySelector("#token-life").textContent)`)
	must(t, p.Eval(ctx, `document.querySelector("#connect").click()`, nil))
	sees(t, p, `document.querySelector("#state").dataset.state === "open"`)
	notify()
	sees(t, p, `[...document.querySelectorAll("#rows .row.event")].some((r) => r.textContent.includes("for alice"))`)
	quiet(t, p)
}

func TestDev_TheConsoleShowsLiveMessagesWithOneClick(t *testing.T) {
	t.Parallel()
	_, text := banner(t)
	p := browser.New(t)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Open(ctx, line(t, text, "http://")))
	sees(t, p, `document.querySelectorAll("#route option").length > 0`)
	must(t, p.Eval(ctx, `document.querySelector("#connect").click()`, nil))
	sees(t, p, `Number(document.querySelector("#n-events").textContent.replace(",", "")) > 5 && document.querySelectorAll("#rows .row").length > 5`)
	png, err := p.Screenshot(ctx)
	must(t, err)
	keep(t, "console.png", png)
	quiet(t, p)
}

// A page on the web whose name points at 127.0.0.1 must not reach a developer's headgate.
func TestDev_AnswersNoForeignHost(t *testing.T) {
	t.Parallel()
	addr, _ := banner(t)
	for _, target := range []string{"/console/", "/v1/prices/ACME"} {
		_, resp := talk(t, addr, "GET "+target+" HTTP/1.1\r\nHost: evil.example\r\n\r\n")
		if resp.StatusCode != 421 && resp.StatusCode != 403 {
			t.Errorf("%s for a foreign host: status %d", target, resp.StatusCode)
		}
	}
}
