package picture

import (
	"context"
	"fmt"
	"html"
	"strings"
)

const (
	pageWidth = 1400
	unitY     = 30 // of the grid
	gap       = 8
	headLine  = 44
)

const style = `body{margin:0;background:#111217;font:12px/1.2 "DejaVu Sans",Arial,sans-serif}svg{display:block}
text{fill:#ccccdc}.title{font-size:13px;font-weight:600}.axis{font-size:10.5px;fill:#9898a6}.legend{font-size:11px}.grid{stroke:#2a2c33;stroke-width:1}
.none{fill:#6e6e7a;font-size:13px}.stat{font-size:27px;font-weight:600;fill:#73bf69}.row{font-size:15px;font-weight:600}.head{font-size:17px;font-weight:600}.sub{font-size:12px;fill:#9898a6}
.panel{fill:#181b1f;stroke:#2a2c33}`

// Page draws a board as one HTML page, and says how high it is and which panels had nothing to show.
func Page(ctx context.Context, b Board, p Prometheus, s Span, subtitle string) (page string, height int, without []string, err error) {
	var svg strings.Builder
	first := -1
	for _, panel := range b.Panels {
		if first < 0 {
			first = panel.GridPos.Y
		}
		x, w := panel.GridPos.X*pageWidth/24+gap/2, panel.GridPos.W*pageWidth/24-gap
		y, h := headLine+(panel.GridPos.Y-first)*unitY+gap/2, panel.GridPos.H*unitY-gap
		height = max(height, y+h+gap)
		fmt.Fprintf(&svg, `<g transform="translate(%d %d)">`, x, y)
		if panel.Type == "row" {
			fmt.Fprintf(&svg, `<text x="2" y="17" class="row">%s</text></g>`, html.EscapeString(panel.Title))
			continue
		}
		all, err := p.ask(ctx, panel, s)
		if err != nil {
			return "", 0, nil, err
		}
		if empty(all) {
			without = append(without, panel.Title)
		}
		fmt.Fprintf(&svg, `<rect width="%d" height="%d" rx="3" class="panel"/><text x="12" y="20" class="title">%s</text>`, w, h, html.EscapeString(panel.Title))
		if panel.Type == "stat" {
			svg.WriteString(stat(panel, all, s, w, h))
		} else {
			svg.WriteString(chart(panel, all, s, w, h))
		}
		svg.WriteString(`</g>`)
	}
	return fmt.Sprintf(`<!doctype html><meta charset="utf-8"><title>%s</title><style>%s</style><svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d">`+
		`<text x="12" y="28" class="head">%s</text><text x="%d" y="28" class="sub" text-anchor="end">%s</text>%s</svg>`,
		html.EscapeString(b.Title), style, pageWidth, height, html.EscapeString(b.Title), pageWidth-12, html.EscapeString(subtitle), svg.String()), height, without, nil
}
