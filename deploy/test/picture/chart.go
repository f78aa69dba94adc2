package picture

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"
)

// colors are those of Grafana's classic palette that can be told apart on a dark ground.
var colors = []string{"#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#56d9fe", "#fa6400", "#96d98d", "#ffee52", "#8ab8ff", "#ffb357",
	"#ff7383", "#ca95e5", "#37872d", "#e0b400"}

func color(n int) string { return colors[n%len(colors)] }

const (
	axisWidth   = 62
	titleHeight = 28
	timesHeight = 20
	legendLine  = 17
)

// chart draws the lines of a timeseries panel into a box.
func chart(p Panel, all []series, s Span, width, height int) string {
	var b strings.Builder
	legend, lines := legendOf(all, width)
	x0, x1 := axisWidth, width-10
	y0, y1 := titleHeight+6, height-timesHeight-lines*legendLine-8
	d := p.FieldConfig.Defaults
	stacked := d.Custom.Stacking.Mode == "normal"
	shown := all
	if stacked {
		shown = stack(all)
	}
	ticks, top := axis(shown, d.Unit)
	x := func(n int) float64 { return float64(x0) + float64(n)*float64(x1-x0)/float64(max(1, steps(s))) }
	y := func(v float64) float64 { return float64(y1) - v/top*float64(y1-y0) }
	for _, t := range ticks {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" class="grid"/><text x="%d" y="%.1f" class="axis" text-anchor="end">%s</text>`, x0, x1, y(t), y(t), x0-7, y(t)+4,
			html.EscapeString(format(t, d.Unit)))
	}
	for n := 0; n <= 4; n++ {
		at := s.From.Add(s.To.Sub(s.From) * time.Duration(n) / 4)
		anchor := map[int]string{0: "start", 4: "end"}[n]
		if anchor == "" {
			anchor = "middle"
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" class="axis" text-anchor="%s">%s</text>`, float64(x0)+float64(n)*float64(x1-x0)/4, y1+16, anchor, at.UTC().Format("15:04:05"))
	}
	for n := len(shown) - 1; n >= 0; n-- {
		b.WriteString(area(shown, n, stacked, float64(d.Custom.FillOpacity)/100, x, y))
	}
	if empty(all) {
		fmt.Fprintf(&b, `<text x="%d" y="%d" class="none" text-anchor="middle">No data</text>`, (x0+x1)/2, (y0+y1)/2)
	}
	fmt.Fprintf(&b, `<g transform="translate(0 %d)">%s</g>`, height-lines*legendLine, legend)
	return b.String()
}

func steps(s Span) int { return int(s.To.Sub(s.From) / s.Step) }

// stack adds each series to those before it.
func stack(all []series) []series {
	out := make([]series, len(all))
	for n, one := range all {
		out[n] = series{one.name, make([]float64, len(one.values))}
		for i, v := range one.values {
			if math.IsNaN(v) {
				v = 0
			}
			if n > 0 {
				v += out[n-1].values[i]
			}
			out[n].values[i] = v
		}
	}
	return out
}

// axis is the ticks of the values, and the top of the box.
func axis(all []series, unit string) (ticks []float64, top float64) {
	most := 0.0
	for _, one := range all {
		for _, v := range one.values {
			if v > most && !math.IsInf(v, 0) {
				most = v
			}
		}
	}
	if most == 0 {
		most = 1
	}
	base := 1.0
	switch {
	case unit == "bytes":
		base = math.Pow(1024, math.Floor(math.Log(most)/math.Log(1024)))
	case unit == "s" && most >= days:
		base = 86400
	case unit == "s" && most >= minutes:
		base = 60
	}
	step := nice(most/base/4) * base
	for t := 0.0; ; t += step {
		ticks = append(ticks, t)
		if t >= most {
			return ticks, t
		}
	}
}

// nice is 1, 2 or 5 times a power of ten, not less than v.
func nice(v float64) float64 {
	ten := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5, 10} {
		if m*ten >= v*0.999 {
			return m * ten
		}
	}
	return 10 * ten
}

// area is a line, and the ground below it down to the one before where they are stacked.
func area(all []series, n int, stacked bool, opacity float64, x func(int) float64, y func(float64) float64) string {
	var b strings.Builder
	values := all[n].values
	below := func(i int) float64 {
		if stacked && n > 0 {
			return all[n-1].values[i]
		}
		return 0
	}
	for from := 0; from < len(values); {
		if math.IsNaN(values[from]) {
			from++
			continue
		}
		to := from
		for to+1 < len(values) && !math.IsNaN(values[to+1]) {
			to++
		}
		var line, ground strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintf(&line, "%.1f,%.1f ", x(i), y(values[i]))
		}
		for i := to; i >= from; i-- {
			fmt.Fprintf(&ground, "%.1f,%.1f ", x(i), y(below(i)))
		}
		fmt.Fprintf(&b, `<polygon points="%s%s" fill="%s" fill-opacity="%.2f"/><polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>`, line.String(), ground.String(),
			color(n), opacity, line.String(), color(n))
		if from == to {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="2" fill="%s"/>`, x(from), y(values[from]), color(n))
		}
		from = to + 1
	}
	return b.String()
}

// legendOf writes the names of series in as many lines as they need.
func legendOf(all []series, width int) (svg string, lines int) {
	var b strings.Builder
	at, line := 12, 0
	for n, one := range all {
		name := one.name
		if len([]rune(name)) > 40 {
			name = string([]rune(name)[:39]) + "…"
		}
		takes := 24 + int(6.4*float64(len([]rune(name))))
		if at > 12 && at+takes > width {
			at, line = 12, line+1
		}
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="3" rx="1" fill="%s"/><text x="%d" y="%d" class="legend">%s</text>`, at, line*legendLine+3, color(n), at+16, line*legendLine+8,
			html.EscapeString(name))
		at += takes
	}
	if len(all) == 0 {
		return "", 0
	}
	return b.String(), line + 1
}

// stat is a large number over the line that led to it.
func stat(p Panel, all []series, s Span, width, height int) string {
	if empty(all) {
		return fmt.Sprintf(`<text x="%d" y="%d" class="none" text-anchor="middle">No data</text>`, width/2, height/2+10)
	}
	last := 0.0
	for _, v := range all[0].values {
		if !math.IsNaN(v) {
			last = v
		}
	}
	_, top := axis(all, p.FieldConfig.Defaults.Unit)
	x := func(n int) float64 { return float64(n) * float64(width) / float64(max(1, steps(s))) }
	y := func(v float64) float64 { return float64(height) - 2 - v/top*float64(height)*0.42 }
	return area(all[:1], 0, false, 0.18, x, y) +
		fmt.Sprintf(`<text x="%d" y="%d" class="stat" text-anchor="middle">%s</text>`, width/2, height/2+8, html.EscapeString(format(last, p.FieldConfig.Defaults.Unit)))
}
