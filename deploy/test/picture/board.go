// Package picture draws the panels of a Grafana dashboard from what a Prometheus answers to their queries. It knows as much of Grafana as our
// dashboard uses: rows, stat and timeseries panels, the variables, units, stacking, legends.
package picture

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"strings"
)

// Board is a dashboard.
type Board struct {
	Title  string
	Panels []Panel
}

// Panel is one of its panels.
type Panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	FieldConfig struct {
		Defaults struct {
			Unit   string
			Min    *float64
			Custom struct {
				FillOpacity int
				Stacking    struct{ Mode string }
			}
		}
	}
	Targets []Target
}

// Target is one of its queries.
type Target struct{ Expr, LegendFormat string }

// Load reads a dashboard.
func Load(file string) (Board, error) {
	var b Board
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	return b, err
}

// Rows are the panels between two rows, by the title of the row that is above them.
func (b Board) Rows(titles ...string) Board {
	part, in := Board{Title: b.Title}, false
	for _, p := range b.Panels {
		if p.Type == "row" {
			in = false
			for _, t := range titles {
				in = in || t == p.Title
			}
		}
		if in {
			part.Panels = append(part.Panels, p)
		}
	}
	return part
}

// query puts values into the variables of a query: all of namespaces and pods, and an interval that four scrapes fit into.
func (t Target) query(interval string) string {
	return strings.NewReplacer("$namespace", ".*", "$pod", ".*", "$__rate_interval", interval).Replace(t.Expr)
}

var placeholder = regexp.MustCompile(`\{\{\s*([a-z_]+)\s*\}\}`)

// name is what the legend calls a series.
func (t Target) name(labels map[string]string) string {
	return placeholder.ReplaceAllStringFunc(t.LegendFormat, func(m string) string {
		return labels[placeholder.FindStringSubmatch(m)[1]]
	})
}

// steps of 1000 or 1024, with their letters.
func scaled(v, base float64, units ...string) string {
	n := 0
	for ; v >= base && n < len(units)-1; n++ {
		v /= base
	}
	return trimmed(v) + units[n]
}

func trimmed(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0.01:
		return fmt.Sprintf("%.1e", v)
	case v < 10:
		return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", v), "0"), ".0")
	case v < 100:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	return fmt.Sprintf("%.0f", v)
}

// From how many seconds on times are in minutes and in days.
const (
	minutes = 120
	days    = 2 * 86400
)

// format writes a value in a unit of Grafana's.
func format(v float64, unit string) string {
	switch unit {
	case "s":
		switch {
		case v == 0:
			return "0 s"
		case v < 1e-3:
			return trimmed(v*1e6) + " µs"
		case v < 1:
			return trimmed(v*1e3) + " ms"
		case v >= 86400:
			return trimmed(v/86400) + " days"
		case v >= 60 && math.Mod(v, 60) == 0, v >= minutes:
			return trimmed(v/60) + " min"
		}
		return trimmed(v) + " s"
	case "bytes":
		return scaled(v, 1024, " B", " KiB", " MiB", " GiB")
	case "Bps":
		return scaled(v, 1000, " B/s", " kB/s", " MB/s")
	case "reqps":
		return scaled(v, 1000, " req/s", "k req/s")
	case "ops":
		return scaled(v, 1000, " ops/s", "k ops/s")
	case "percentunit":
		return trimmed(v*100) + "%"
	}
	return scaled(v, 1000, "", " K", " M")
}
