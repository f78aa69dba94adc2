package e2e_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/browser"
	"headgate/e2e/internal/fault"
)

// openIdentified opens the page of a gateway whose callers have tokens, over a network that notes what is sent.
func openIdentified(t *testing.T) (*console, *fault.Proxy) {
	t.Helper()
	g := startIdentifiedWith(t, "https://app.example", "", "CONSOLE", "true", "AUTH_EXPIRY_NOTICE", "1h") // $expiring comes at once
	net := fault.New(t, g.Addr)
	c := &console{Page: browser.New(t), t: t, gate: g}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, c.Open(ctx, net.URL()+"/console/#route=me"))
	c.until(`document.getElementById("route").options.length > 0 && !document.getElementById("token-field").hidden`)
	return c, net
}

// paste puts a text into the token box as a person would, in place of what is there.
func (c *console) paste(text string) {
	c.t.Helper()
	ctx, cancel := soon(c.t)
	defer cancel()
	c.do(`document.getElementById("token").focus(); document.getElementById("token").select()`)
	must(c.t, c.Type(ctx, text))
}

// unsigned is a token that no gateway takes.
func unsigned(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256","kid":"k1"}`)) + "." + encode([]byte(claims)) + ".c2ln"
}

func TestConsole_ShowsATokenAndSendsItWithTheStream(t *testing.T) {
	t.Parallel()
	c, net := openIdentified(t)
	token := jwtFor("ann", 2*time.Hour)
	c.paste("Authorization: Bearer " + token[:40] + "\n" + token[40:])
	c.until(`document.getElementById("token-life").textContent.startsWith("Good for 1 h 59 min")`)
	if claims := c.text("token-claims"); !strings.Contains(claims, `"sub": "ann"`) || !strings.Contains(c.text("token-header"), "alg HS256") {
		t.Errorf("claims: %s", claims)
	}
	c.until(`document.getElementById("snippet").textContent.includes('-H "Authorization: Bearer $TOKEN"')`)
	c.click("connect")
	c.until(row("$ready", "confirmed by NATS"))
	c.publish(t, "users.ann.notify", "for ann")
	c.until(row("message", "for ann"))
	var elsewhere bool
	c.eval(fmt.Sprintf(`[location.href, document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.getElementById("snippet").textContent]
		.some((text) => text.includes(%q))`, token[40:80]), &elsewhere)
	if elsewhere {
		t.Error("the token is in the address, the cookies, the storage or the snippet")
	}
	sent := strings.Join(net.Requests(), "")
	if n := strings.Count(sent, token); n != 1 || strings.Count(sent, "Authorization: ") != 1 || strings.Count(sent, "GET /v1/me") != 1 {
		t.Errorf("the token was sent %d times:\n%s", n, sent)
	}
	if said := c.Said(); len(said) != 0 {
		t.Errorf("the page complains: %q", said)
	}
	c.picture("console-token.png")
}

func TestConsole_ATokenThatIsReplacedInTimeLosesNothing(t *testing.T) {
	t.Parallel()
	c, _ := openIdentified(t)
	c.paste(jwtFor("ann", 6*time.Second))
	c.click("connect")
	c.until(row("$ready", "confirmed"))
	c.until(`!document.getElementById("token-said").hidden && document.getElementById("token-said").textContent.startsWith("Paste a new one")`)
	c.until(row("$expiring", "ends in"))
	c.paste(jwtFor("ann", 2*time.Hour))
	c.until(`document.getElementById("token-said").hidden`) // of the old one
	c.until(row("$end", "token-expired, reconnect"))
	c.publish(t, "users.ann.notify", "in between")
	c.until(row("message", "in between") + ` && document.getElementById("n-gaps").textContent === "0"`)
	c.until(`document.getElementById("n-reconnects").textContent === "1"`)
}

func TestConsole_ARefusedTokenCanBeReplacedAndTheStreamGoesOn(t *testing.T) {
	t.Parallel()
	c, _ := openIdentified(t)
	c.paste(jwtFor("ann", 5*time.Second))
	c.click("connect")
	c.until(row("$ready", "confirmed"))
	c.until(row("$end", "token-expired"))
	c.until(`document.getElementById("state-text").textContent === "Refused with 401"`)
	c.until(`document.getElementById("problem").textContent.includes("expired")`)
	c.until(`document.getElementById("token-said").textContent.includes("ended with its token") && document.getElementById("token-life").textContent.startsWith("Expired")`)
	c.publish(t, "users.ann.notify", "while it was away")
	c.paste(jwtFor("ann", time.Hour))
	c.click("cut") // which reads Reconnect
	c.until(row("message", "replayed while it was away"))
}

func TestConsole_ShowsStrangeTokensAsText(t *testing.T) {
	t.Parallel()
	c, net := openIdentified(t)
	const evil = `<img src=x onerror=\"document.title='owned'\">`
	c.paste(unsigned(`{"sub":"` + evil + `","exp":1,"nbf":"soon"}`))
	c.until(`document.getElementById("token-claims").textContent.includes("<img src=x")`)
	c.until(`document.querySelectorAll("#token-field img").length === 0 && !document.title.includes("owned")`)
	for text, says := range map[string]string{
		unsigned(`{"exp":1}`): "", "a.b": "three parts", "a.b.c": "no JWT", "ü.b.c": "letters, digits", unsigned(`[1]`): "no JWT",
		unsigned(`{"a":"` + strings.Repeat("x", 17<<10) + `"}`): "at most 16384 bytes",
	} {
		c.paste(text)
		c.until(fmt.Sprintf(`document.getElementById("token-problem").textContent.includes(%q) && document.getElementById("token-problem").hidden === %t`, says, says == ""))
		c.until(fmt.Sprintf(`document.getElementById("token-decoded").hidden === %t`, says != ""))
	}
	for claims, life := range map[string]string{
		`{}`: "no exp", `{"exp":1}`: "Expired", fmt.Sprintf(`{"exp":%d}`, time.Now().Unix()+90061): "Good for 1 d 1 h",
		fmt.Sprintf(`{"exp":%d,"nbf":%d}`, time.Now().Unix()+9000, time.Now().Unix()+3700): "Not good before 1 h 1 min",
	} {
		c.paste(unsigned(claims))
		c.until(fmt.Sprintf(`document.getElementById("token-life").textContent.includes(%q)`, life))
	}
	// What cannot be sent is not.
	c.paste("ü.b.c")
	c.click("connect")
	c.until(`!document.getElementById("form-error").hidden`)
	if sent := strings.Join(net.Requests(), ""); strings.Contains(sent, "/v1/me") {
		t.Errorf("a request was made:\n%s", sent)
	}
	// Nor is a token where the box is empty.
	c.paste(" ")
	c.click("connect")
	c.until(`document.getElementById("problem").textContent.includes("token-missing")`)
}

func TestConsole_TheTokenBoxIsForKeyboardsAndPhones(t *testing.T) {
	t.Parallel()
	c, _ := openIdentified(t)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, c.Size(ctx, 360, 780, true))
	c.do(`document.getElementById("route").focus()`)
	c.press("Tab")
	c.until(`document.activeElement.id === "token"`)
	must(t, c.Type(ctx, jwtFor("ann", time.Minute)))
	c.press("Tab")
	c.until(`document.activeElement.textContent === "Claims"`)
	c.press("Enter")
	c.until(`document.getElementById("token-decoded").open`)
	c.press("Tab")
	c.until(`document.activeElement.id === "token-claims"`)
	for range 6 {
		var there bool
		c.eval(`document.activeElement.id === "connect"`, &there)
		if there {
			break
		}
		c.press("Tab")
	}
	c.press("Enter")
	c.until(isOpen)
	c.until(`!document.getElementById("token-said").hidden && document.documentElement.scrollWidth <= 360`)
	c.until(`document.getElementById("announce").textContent !== ""`)
}
