package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

const pollEvery = 25 * time.Millisecond // how often Wait looks at the page

// Page is one tab. Its methods may be called from any goroutine.
type Page struct {
	conn    *connection
	context string
	target  string
	session string

	mu   sync.Mutex
	said []string
}

type empty = struct{}

func newPage(ctx context.Context, conn *connection) (*Page, error) {
	p := &Page{conn: conn}
	var made struct{ BrowserContextID, TargetID, SessionID string }
	if err := conn.call(ctx, "", "Target.createBrowserContext", empty{}, &made); err != nil {
		return nil, err
	}
	p.context = made.BrowserContextID
	create := map[string]any{"url": "about:blank", "browserContextId": p.context}
	if err := conn.call(ctx, "", "Target.createTarget", create, &made); err != nil {
		return nil, err
	}
	p.target = made.TargetID
	attach := map[string]any{"targetId": p.target, "flatten": true}
	if err := conn.call(ctx, "", "Target.attachToTarget", attach, &made); err != nil {
		return nil, err
	}
	p.session = made.SessionID
	conn.listen(p.session, p.event)
	for _, domain := range []string{"Page.enable", "Runtime.enable", "Log.enable"} {
		if err := p.call(ctx, domain, empty{}, nil); err != nil {
			return nil, err
		}
	}
	// The page of another test has the real focus (https://chromedevtools.github.io/devtools-protocol/tot/Emulation/).
	if err := p.call(ctx, "Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}, nil); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Page) call(ctx context.Context, method string, params, out any) error {
	return p.conn.call(ctx, p.session, method, params, out)
}

func (p *Page) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = p.conn.call(ctx, "", "Target.disposeBrowserContext", map[string]any{"browserContextId": p.context}, nil)
}

// event keeps what the page complains about: exceptions, its own console, and what the browser logs, such as violations of the
// content security policy (source "security").
func (p *Page) event(method string, params json.RawMessage) {
	var e struct {
		Entry            struct{ Source, Level, Text, URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Type string
		Args []struct{ Value any }
	}
	if json.Unmarshal(params, &e) != nil {
		return
	}
	var text string
	switch method {
	case "Log.entryAdded":
		text = fmt.Sprintf("%s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
	case "Runtime.exceptionThrown":
		text = "exception: " + e.ExceptionDetails.Text + " " + e.ExceptionDetails.Exception.Description
	case "Runtime.consoleAPICalled":
		text = "console." + e.Type
		for _, a := range e.Args {
			text += fmt.Sprint(" ", a.Value)
		}
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, text)
}

// Said is what the page and the browser have written about it, one line each: "exception: …", "console.error …", "security error: …",
// "network error: …".
func (p *Page) Said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.said...)
}

// Open navigates to url and waits until the document is there.
func (p *Page) Open(ctx context.Context, url string) error {
	var answer struct{ ErrorText string }
	if err := p.call(ctx, "Page.navigate", map[string]any{"url": url}, &answer); err != nil {
		return err
	}
	if answer.ErrorText != "" {
		return fmt.Errorf("open %s: %s", url, answer.ErrorText)
	}
	return p.Wait(ctx, `document.readyState === "complete"`)
}

// Eval evaluates a JavaScript expression, waits for it when it is a promise, and puts its value into out, unless that is nil.
func (p *Page) Eval(ctx context.Context, expression string, out any) error {
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := p.call(ctx, "Runtime.evaluate", map[string]any{
		"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
	}, &answer)
	if err != nil {
		return err
	}
	if e := answer.ExceptionDetails; e != nil {
		return fmt.Errorf("evaluate %s: %s %s", expression, e.Text, e.Exception.Description)
	}
	if out == nil || len(answer.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(answer.Result.Value, out)
}

// Wait waits until a JavaScript expression is true. A page that is being replaced answers with an error, so errors are tried again.
func (p *Page) Wait(ctx context.Context, expression string) error {
	for {
		var ok bool
		err := p.Eval(ctx, "!!("+expression+")", &ok)
		if ok {
			return nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last error: %v)", expression, ctx.Err(), err)
		}
	}
}

// Size makes the viewport so wide and high; mobile behaves like a phone.
func (p *Page) Size(ctx context.Context, width, height int, mobile bool) error {
	return p.call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 2, "mobile": mobile,
	}, nil)
}

// Dark makes the system prefer dark pages, or light ones.
func (p *Page) Dark(ctx context.Context, dark bool) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	return p.call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Downloads lets the page save files to a directory, instead of asking a person where to.
func (p *Page) Downloads(ctx context.Context, dir string) error {
	return p.conn.call(ctx, "", "Browser.setDownloadBehavior", map[string]any{"behavior": "allow", "browserContextId": p.context, "downloadPath": dir}, nil)
}

// Screenshot is the viewport as PNG.
func (p *Page) Screenshot(ctx context.Context) ([]byte, error) {
	var answer struct{ Data []byte } // base64, which encoding/json decodes
	err := p.call(ctx, "Page.captureScreenshot", map[string]any{"format": "png"}, &answer)
	return answer.Data, err
}

// Type types text into the element that has the focus.
func (p *Page) Type(ctx context.Context, text string) error {
	return p.call(ctx, "Input.insertText", map[string]any{"text": text}, nil)
}

// keys are the keys that tests press: code, the text they insert, and the old key code that activates buttons.
var keys = map[string]struct {
	code, text string
	old        int
}{
	"Tab":       {"Tab", "", 9},
	"Enter":     {"Enter", "\r", 13},
	" ":         {"Space", " ", 32},
	"Escape":    {"Escape", "", 27},
	"ArrowDown": {"ArrowDown", "", 40},
	"ArrowUp":   {"ArrowUp", "", 38},
	"/":         {"Slash", "/", 191},
	"p":         {"KeyP", "p", 80},
}

// Press presses and releases one of keys.
func (p *Page) Press(ctx context.Context, key string) error {
	k, ok := keys[key]
	if !ok {
		return fmt.Errorf("no such key: %q", key)
	}
	params := map[string]any{"type": "keyDown", "key": key, "code": k.code, "windowsVirtualKeyCode": k.old}
	if k.text != "" {
		params["text"] = k.text
	}
	if err := p.call(ctx, "Input.dispatchKeyEvent", params, nil); err != nil {
		return err
	}
	return p.call(ctx, "Input.dispatchKeyEvent",
		map[string]any{"type": "keyUp", "key": key, "code": k.code, "windowsVirtualKeyCode": k.old}, nil)
}
