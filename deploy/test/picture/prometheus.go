package picture

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"time"
)

// Span is what is shown.
type Span struct {
	From, To time.Time
	Step     time.Duration
	Interval time.Duration // $__rate_interval
}

// series is one line: a value for each step, NaN where there is none.
type series struct {
	name   string
	values []float64
}

// Prometheus answers queries.
type Prometheus struct{ URL string }

// ask asks for all series of a panel.
func (p Prometheus) ask(ctx context.Context, panel Panel, s Span) ([]series, error) {
	var all []series
	for _, t := range panel.Targets {
		found, err := p.between(ctx, t, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", panel.Title, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// between is a range query (Prometheus, HTTP API, "Range queries").
func (p Prometheus) between(ctx context.Context, t Target, s Span) ([]series, error) {
	query := url.Values{"query": {t.query(s.Interval.String())}, "start": {strconv.FormatInt(s.From.Unix(), 10)}, "end": {strconv.FormatInt(s.To.Unix(), 10)},
		"step": {strconv.FormatFloat(s.Step.Seconds(), 'f', -1, 64)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/api/v1/query_range?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", t.Expr, answer.Error)
	}
	steps := int(s.To.Sub(s.From)/s.Step) + 1
	var all []series
	for _, r := range answer.Data.Result {
		one := series{name: t.name(r.Metric), values: make([]float64, steps)}
		for i := range one.values {
			one.values[i] = math.NaN()
		}
		for _, v := range r.Values {
			at, _ := v[0].(float64)
			text, _ := v[1].(string)
			if n := int(math.Round((at - float64(s.From.Unix())) / s.Step.Seconds())); n >= 0 && n < steps {
				one.values[n], _ = strconv.ParseFloat(text, 64)
			}
		}
		all = append(all, one)
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].name < all[j].name })
	return all, nil
}

// empty says whether there is nothing to draw.
func empty(all []series) bool {
	for _, s := range all {
		for _, v := range s.values {
			if !math.IsNaN(v) {
				return false
			}
		}
	}
	return true
}
