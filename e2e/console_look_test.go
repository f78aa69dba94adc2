package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// unreadable lists the texts on the page whose contrast is below 4.5 to 1, or 3 to 1 where they are large (WCAG 2.2, success criterion
// 1.4.3). Colours are mixed as the browser mixes them, by painting them.
const unreadable = `(() => {
	const g = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
	const rgb = (...layers) => {
		g.globalAlpha = 1;
		g.fillStyle = "white";
		g.fillRect(0, 0, 1, 1);
		for (const layer of layers) { g.fillStyle = layer; g.fillRect(0, 0, 1, 1); }
		return [...g.getImageData(0, 0, 1, 1).data].slice(0, 3);
	};
	const light = (c) => c.map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
	const bad = [];
	for (const node of document.querySelectorAll("body *")) {
		const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim() !== "");
		if (!own || !node.checkVisibility() || node.matches(".visually-hidden, .skip, option, script") || node.getAttribute("aria-disabled") === "true") continue;
		const layers = [];
		for (let n = node; n; n = n.parentElement) layers.unshift(getComputedStyle(n).backgroundColor);
		const style = getComputedStyle(node);
		const large = parseFloat(style.fontSize) >= 24 || parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700;
		const is = ratio(rgb(...layers, style.color), rgb(...layers));
		if (is < (large ? 3 : 4.5)) bad.push(node.className + "#" + node.id + " " + node.textContent.trim().slice(0, 30) + ": " + is.toFixed(2));
	}
	return bad;
})()`

// Rows of every kind, each colour of event types, a detail, a refusal, a token that has expired.
func TestConsole_EveryTextIsReadableInLightAndDark(t *testing.T) {
	t.Parallel()
	c, _ := openIdentified(t)
	c.paste(unsigned(`{"sub":"ann","exp":1}`))
	c.click("connect")
	c.until(`!document.getElementById("problem").hidden`)
	c.do(`import("./log.js").then(({ Log }) => {
		const log = new Log(() => {});
		const add = (more) => log.add({ at: Date.now(), type: "x", id: "1~aaaaaa.1", data: '{"a":[1,"b",null]}', ...more });
		for (const kind of ["ready", "gap", "end", "beat", "note", "refused"]) add({ kind, note: "what " + kind + " means" });
		for (const phase of ["state", "replayed"]) add({ kind: "event", phase });
		for (const type of "abcdefghijkl") add({ kind: "event", type });
		requestAnimationFrame(() => requestAnimationFrame(() => log.toggle(document.querySelector("#rows .row.event"))));
	})`)
	c.until(`document.querySelectorAll("#rows .detail span").length === 4`)
	for _, theme := range []string{"light", "dark"} {
		c.choose("theme", theme)
		var bad []string
		var seen int
		c.eval(unreadable, &bad)
		c.eval(`new Set([...document.querySelectorAll("#rows .chip")].map((n) => n.className)).size`, &seen)
		if len(bad) > 0 || seen < 7 {
			t.Errorf("%s, with %d kinds of events: hard to read are\n%s", theme, seen, strings.Join(bad, "\n"))
		}
		c.picture(fmt.Sprintf("console-%s.png", theme))
	}
}

// No width cuts anything off, or leaves holes between the counters.
func TestConsole_FitsEveryWidth(t *testing.T) {
	t.Parallel()
	c := openConsole(t, "#route=prices&p.symbol=ACME&connect=1")
	c.until(row("$ready", "confirmed"))
	c.publish(t, "prices.ACME", strings.Repeat("wide", 500))
	c.until(row("price", "wide"))
	ctx, cancel := soon(t)
	defer cancel()
	for _, width := range []int{320, 390, 600, 900, 901, 1000, 1150, 1151, 1440, 2560} {
		must(t, c.Size(ctx, width, 900, width < 700))
		c.until(fmt.Sprintf(`innerWidth === %d`, width))
		var holes float64
		c.eval(`(() => {
			const area = (n) => n.getBoundingClientRect().width * n.getBoundingClientRect().height;
			const all = document.querySelector(".stats");
			return 1 - [...all.children].reduce((sum, n) => sum + area(n), 0) / area(all);
		})()`, &holes)
		var wide, log float64
		c.eval(`document.documentElement.scrollWidth - innerWidth`, &wide)
		c.eval(`document.getElementById("grid").clientHeight / innerHeight`, &log)
		if holes > 0.06 || wide > 0 || log < 0.4 {
			t.Errorf("%d pixels: %.0f %% of the counters are holes, %.0f pixels stick out, the table has %.0f %% of the height", width, 100*holes, wide, 100*log)
		}
	}
}
