package e2e_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// example is one folder of examples/, brought to free ports, with its commands running.
type example struct {
	server   *proc.Process
	restart  func()   // starts headgate again, with the command that started it
	commands []string // of its README, in order, without the two that start the servers
	page     string   // where the page is
	env      []string // of the commands: PATH with a nats command, and where NATS is
	written  []string // the commands as the README has them
	ledger   *stack.Ledger
}

// startExample starts what the README of an example starts, with the README's own commands. The ports in the files become free ones,
// `go run` becomes the program that was built, and nothing else is changed but what the test says: pairs of old and new.
func startExample(t *testing.T, name string, changes ...string) *example {
	t.Helper()
	need.Program(t, "python3", "python3")
	need.Program(t, "curl", "curl")
	must(t, stack.BuildHeadgate())
	gate, pages, admin := proc.FreeAddr(t), proc.FreeAddr(t), proc.FreeAddr(t)
	dir := filepath.Join(t.TempDir(), name)
	own := service(t, name)
	renamed := strings.NewReplacer(append(changes, "localhost:8080", "localhost:"+port(gate), "localhost:8000", "localhost:"+port(pages),
		"127.0.0.1:8000", pages, " 8000\n", " "+port(pages)+"\n", "go run ./examples/"+name, own, "examples/"+name, dir,
		"go run . ", stack.HeadgateBinary()+" ")...)
	must(t, copyRenamed(os.DirFS("../examples/"+name), dir, renamed))
	must(t, copyRenamed(os.DirFS("../examples/client"), filepath.Join(filepath.Dir(dir), "client"), renamed)) // beside it
	blocks := stack.ShellBlocks(t, filepath.Join(dir, "README.md"))
	if len(blocks) < 4 || !strings.Contains(blocks[0], "ROUTES_FILE=") || !strings.Contains(blocks[1], "http.server") && !strings.HasPrefix(blocks[1], own+" -addr ") {
		t.Fatalf("the README does not begin with the two servers: %q", blocks)
	}

	written := stack.ShellBlocks(t, "../examples/"+name+"/README.md")
	ledger := stack.NewLedger(t, "examples/"+name+"/README.md")
	ledger.Run(written[0])
	ledger.Run(written[1])
	ctx, cancel := stack.Deadline(t, time.Minute)
	t.Cleanup(cancel)
	e := &example{commands: blocks[2:], written: written[2:], ledger: ledger, page: "http://localhost:" + port(pages) + "/"}
	e.restart = func() {
		// Only the addresses that a README has no need to name, for they have defaults.
		e.server = shell(t, blocks[0], "HTTP_ADDR="+gate, "ADMIN_ADDR="+admin)
		must(t, e.server.WaitListening(ctx, gate))
	}
	e.restart()
	found, err := e.server.WaitOutput(ctx, regexp.MustCompile(`NATS +(nats://\S+)`))
	must(t, err)
	must(t, shell(t, blocks[1]).WaitListening(ctx, pages))
	e.env = []string{"PATH=" + stack.NATSCommand(t, found[1]) + ":" + os.Getenv("PATH"), "NATS_URL=" + found[1]}
	return e
}

// service builds the program that an example has beside its page, if it has one.
func service(t *testing.T, name string) string {
	t.Helper()
	if files, _ := filepath.Glob("../examples/" + name + "/*.go"); len(files) == 0 {
		return ""
	}
	program := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", program, "./examples/"+name)
	build.Dir = ".."
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return program
}

// run runs the i-th command to its end, and returns what it printed.
func (e *example) run(t *testing.T, i int) string {
	t.Helper()
	p := e.begin(t, i)
	ctx, cancel := soon(t)
	defer cancel()
	_, err := p.Wait(ctx)
	must(t, err)
	return p.Output()
}

// begin starts the i-th command, which need not end.
func (e *example) begin(t *testing.T, i int) *proc.Process {
	t.Helper()
	e.ledger.Run(e.written[i])
	return shell(t, e.commands[i], e.env...)
}

// shell starts a command for the length of the test, in the root of the repository. What it caches goes with the test run.
func shell(t *testing.T, command string, env ...string) *proc.Process {
	t.Helper()
	cmd := exec.Command("bash", "-c", command)
	cmd.Dir = ".."
	cmd.Env = append(append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(filepath.Dir(stack.HeadgateBinary()), "cache")), env...)
	return proc.StartT(t, strings.TrimSpace(command), cmd)
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

func copyRenamed(from fs.FS, to string, names *strings.Replacer) error {
	return fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		}
		text, err := fs.ReadFile(from, path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), []byte(names.Replace(string(text))), 0o644)
	})
}

// openPage opens a page of the example and waits for its welcome.
func (e *example) openPage(t *testing.T, query string) *browser.Page {
	t.Helper()
	p := browser.New(t)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Open(ctx, e.page+query))
	must(t, p.Wait(ctx, `document.querySelector("#state").className === "open"`))
	return p
}

// sees waits until a JavaScript expression is true on the page.
func sees(t *testing.T, p *browser.Page, expression string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Wait(ctx, expression))
}

// showsText waits until the elements that a selector finds have these texts, in this order.
func showsText(t *testing.T, p *browser.Page, selector string, texts ...string) {
	t.Helper()
	sees(t, p, fmt.Sprintf(`JSON.stringify([...document.querySelectorAll(%q)].map(e => e.innerText.replace(/\s+/g, " ").trim())) === JSON.stringify(%s)`,
		selector, jsList(texts)))
}

func jsList(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = fmt.Sprintf("%q", text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quiet fails when a page has thrown, or logged an error of its own.
func quiet(t *testing.T, p *browser.Page) {
	t.Helper()
	for _, line := range p.Said() {
		if strings.HasPrefix(line, "exception") || strings.HasPrefix(line, "console.error") || strings.HasPrefix(line, "security") {
			t.Errorf("the page says: %s", line)
		}
	}
}

func TestExample_LiveFeedListsIDAndTemperatureAfterTheWelcome(t *testing.T) {
	t.Parallel()
	e := startExample(t, "live-feed")
	p := e.openPage(t, "")
	showsText(t, p, "#state", "Welcome! Connected to feed (live).")
	e.run(t, 0)
	showsText(t, p, "#readings li", "Sensor 5 25 °C", "Sensor 4 24 °C", "Sensor 3 23 °C", "Sensor 2 22 °C", "Sensor 1 21 °C")
	e.run(t, 1)
	sees(t, p, `document.querySelector("#readings li").innerText.includes("19.5 °C")`)
	if out := e.run(t, 2); !strings.Contains(out, "event: $ready") {
		t.Errorf("curl shows no welcome:\n%s", out)
	}
	snap(t, p, "live-feed.png")
	e.server.Kill()
	sees(t, p, `document.querySelector("#state").className === "lost"`)
	e.restart()
	sees(t, p, `document.querySelector("#state").className === "open"`)
	quiet(t, p)
}

func TestExample_BroadcastReachesEveryPage(t *testing.T) {
	t.Parallel()
	e := startExample(t, "broadcast")
	one, two := e.openPage(t, ""), e.openPage(t, "")
	e.run(t, 0)
	e.run(t, 1)
	for _, p := range []*browser.Page{one, two} {
		showsText(t, p, "#messages li", "Hello from a service", "Hello, everybody")
	}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, one.Eval(ctx, `document.querySelector("#text").focus()`, nil))
	must(t, one.Type(ctx, "from a <b>page</b>"))
	must(t, one.Press(ctx, "Enter"))
	for _, p := range []*browser.Page{one, two} {
		showsText(t, p, "#messages li", "from a <b>page</b>", "Hello from a service", "Hello, everybody")
		quiet(t, p)
	}
	snap(t, one, "broadcast.png")
}

// snap keeps a picture of the page.
func snap(t *testing.T, p *browser.Page, name string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	png, err := p.Screenshot(ctx)
	must(t, err)
	keep(t, name, png)
}

func TestExample_NotificationsReachOneUserWithTheirType(t *testing.T) {
	t.Parallel()
	e := startExample(t, "notifications")
	alice, bob := e.openPage(t, "?user=alice"), e.openPage(t, "?user=bob")
	e.run(t, 0)
	showsText(t, alice, "#list li", "Payment 12.50 EUR from Carol", "You were mentioned Bob wrote: have you seen this, @alice?")
	showsText(t, bob, "#list li", "Alert Your disk is full")
	e.run(t, 1)
	sees(t, alice, `document.querySelector("#list li.alert").innerText.includes("5 minutes")`)
	showsText(t, bob, "#list li", "Alert Your disk is full")
	if out := e.run(t, 2); !strings.Contains(out, "parameter-invalid") {
		t.Errorf("a wildcard as user answered:\n%s", out)
	}
	snap(t, alice, "notifications.png")
	quiet(t, alice)
	quiet(t, bob)
}

func TestExample_AnalyticsArriveEverySecond(t *testing.T) {
	t.Parallel()
	e := startExample(t, "analytics")
	p := e.openPage(t, "")
	service := e.begin(t, 0)
	sees(t, p, `Number(document.querySelector("#updates").textContent) >= 3`)
	sees(t, p, `document.querySelector("#line").getAttribute("points").split(" ").length >= 3`)
	service.Stop()
	snap(t, p, "analytics.png")
	e.run(t, 1)
	sees(t, p, `document.querySelector("#visitors").textContent === "512" && document.querySelector("#orders").textContent === "17"`)
	quiet(t, p)
}

func TestExample_OrdersAreNeverMissed(t *testing.T) {
	t.Parallel()
	e := startExample(t, "orders")
	e.run(t, 0)
	p := e.openPage(t, "")
	showsText(t, p, "#orders li", "5 hooli 50.50 €", "4 globex 40.50 €", "3 acme 30.50 €")
	e.run(t, 1)
	now := []string{"7 globex 70.50 €", "6 acme 60.50 €", "5 hooli 50.50 €", "4 globex 40.50 €", "3 acme 30.50 €"}
	showsText(t, p, "#orders li", now...)

	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.Eval(ctx, `document.querySelector("#toggle").click()`, nil))
	sees(t, p, `document.querySelector("#state").textContent === "Offline."`)
	out := e.run(t, 2)
	if got := regexp.MustCompile(`"number": \d+`).FindAllString(out[strings.LastIndex(out, "stored"):], -1); fmt.Sprint(got) !=
		`["number": 10 "number": 8 "number": 9 "number": 10]` || !strings.Contains(out, "event: $live") {
		t.Errorf("behind the id came %q:\n%s", got, out)
	}
	must(t, p.Eval(ctx, `document.querySelector("#toggle").click()`, nil))
	showsText(t, p, "#orders li", append([]string{"10 globex 100.50 €", "9 acme 90.50 €", "8 hooli 80.50 €"}, now...)...)
	sees(t, p, `document.querySelectorAll("#orders li.missed").length === 3 && document.querySelector("#state").textContent.includes("3 missed orders")`)
	if out := e.run(t, 3); strings.Count(out, "event: order") != 10 {
		t.Errorf("since an hour ago:\n%s", out)
	}
	snap(t, p, "orders.png")
	quiet(t, p)
}

func TestExample_FeatureFlagsReachEveryPageAtOnce(t *testing.T) {
	t.Parallel()
	e := startExample(t, "feature-flags")
	e.run(t, 0)
	prod, staging := e.openPage(t, ""), e.openPage(t, "?env=staging")
	showsText(t, prod, "#flags li", `banner "Sale until Sunday"`, "dark-mode false", "new-checkout true")
	showsText(t, staging, "#flags li", "dark-mode true")
	e.run(t, 1)
	showsText(t, prod, "#flags li", "dark-mode true", "new-checkout true")
	sees(t, prod, `document.documentElement.hasAttribute("data-dark")`)
	if out := e.run(t, 2); strings.Count(out, "event: put") != 2 || strings.Contains(out, "banner") || !strings.Contains(out, `{"count":2}`) {
		t.Errorf("the state is\n%s", out)
	}
	snap(t, prod, "feature-flags.png")
	quiet(t, prod)
	quiet(t, staging)
}

func TestExample_JobProgressEndsForGood(t *testing.T) {
	t.Parallel()
	e := startExample(t, "job-progress")
	job := e.begin(t, 0)
	shows(t, job, "job 42")
	p := e.openPage(t, "")
	sees(t, p, `document.querySelector("#status").textContent === "running" && document.querySelector("#bar").value > 0`)
	sees(t, p, `document.querySelector("#status").textContent === "done" && document.querySelector("#bar").value === 100`)
	sees(t, p, `document.querySelector("#state").textContent.includes("over")`)
	e.run(t, 1)
	failed := browser.New(t) // whose stream is over before it is open for long
	ctx, cancel := soon(t)
	defer cancel()
	must(t, failed.Open(ctx, e.page+"?job=43"))
	showsText(t, failed, "#status", "failed")
	showsText(t, failed, "#percent", "50 %")
	sees(t, failed, `document.querySelector("#state").textContent.includes("over")`)
	if out := e.run(t, 2); !strings.Contains(out, "HTTP/1.1 204 No Content") {
		t.Errorf("who comes back gets\n%s", out)
	}
	snap(t, p, "job-progress.png")
	quiet(t, p)
	quiet(t, failed)
}

func TestExample_TheDashboardHasSeveralStreamsOnOneConnection(t *testing.T) {
	t.Parallel()
	e := startExample(t, "dashboard")
	e.run(t, 0)
	p := e.openPage(t, "")
	value := func(subject, text string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#figures div")].some((d) => d.querySelector("dt").textContent === %q && d.querySelector("dd").firstChild.textContent === %q)`, subject, text)
	}
	for subject, text := range map[string]string{"sales.eu": "100", "sales.us": "70", "support.open": "19", "support.solved": "5"} {
		sees(t, p, value(subject, text))
	}
	e.run(t, 1)
	for subject, text := range map[string]string{"sales.eu": "600", "sales.us": "420", "support.open": "14", "support.solved": "30", "visitors.now": "406"} {
		sees(t, p, value(subject, text))
	}
	out := e.run(t, 2)
	if m := regexp.MustCompile(`event: \$snapshot\ndata: {"count":4}\nid: 1(~[\w-]{6}\.\w+){3}\n`); !m.MatchString(out) {
		t.Errorf("curl shows\n%s", out)
	}
	snap(t, p, "dashboard.png")
	quiet(t, p)
}

func TestExamples_EveryFolderIsTestedAndListed(t *testing.T) {
	index, err := os.ReadFile("../examples/README.md")
	must(t, err)
	var tested strings.Builder
	for _, file := range []string{"examples_test.go", "examples_identity_test.go", "examples_more_test.go"} {
		text, err := os.ReadFile(file)
		must(t, err)
		tested.Write(text)
	}
	entries, err := os.ReadDir("../examples")
	must(t, err)
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if !strings.Contains(string(index), "]("+entry.Name()+")") {
			t.Errorf("examples/README.md does not list %s", entry.Name())
		}
		if entry.Name() == "client" {
			continue // a library: client_test.go
		}
		if !strings.Contains(tested.String(), `startExample(t, "`+entry.Name()+`"`) {
			t.Errorf("no test starts %s", entry.Name())
		}
	}
}
