//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
)

// paired collects ratios of two things that were measured side by side, in several processes. How long a process takes depends on where it
// has its memory, so that its ratios go together: each process counts as one observation, the mean of its ratios.
type paired struct {
	processes [][]float64 // logarithms of ratios
}

// begin begins another process.
func (p *paired) begin() { p.processes = append(p.processes, nil) }

func (p *paired) add(ratio float64) {
	last := len(p.processes) - 1
	p.processes[last] = append(p.processes[last], math.Log(ratio))
}

// interval is the mean ratio, and where it is with 95 %.
type interval struct {
	mean, low, high float64
	processes, all  int
}

// student95 are the quantiles of Student's distribution for 95 % on both sides, by degrees of freedom.
var student95 = []float64{math.Inf(1), 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
	2.120, 2.110, 2.101, 2.093, 2.086}

func (p *paired) interval() interval {
	var means []float64
	out := interval{}
	for _, list := range p.processes {
		if len(list) > 0 {
			means = append(means, trimmed(list))
			out.all += len(list)
		}
	}
	out.processes = len(means)
	if len(means) == 0 {
		return interval{mean: math.NaN(), low: math.NaN(), high: math.NaN()}
	}
	mean, square := 0.0, 0.0
	for _, m := range means {
		mean += m / float64(len(means))
	}
	for _, m := range means {
		square += (m - mean) * (m - mean)
	}
	free := len(means) - 1
	reach := math.Inf(1)
	if free > 0 {
		reach = student95[min(free, len(student95)-1)] * math.Sqrt(square/float64(free)/float64(len(means)))
	}
	out.mean, out.low, out.high = math.Exp(mean), math.Exp(mean-reach), math.Exp(mean+reach)
	return out
}

// trimmed is the mean without the outer tenths: a stretch into which a garbage collection or somebody else fell says nothing.
func trimmed(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	cut := len(sorted) / 10
	sorted = sorted[cut : len(sorted)-cut]
	sum := 0.0
	for _, v := range sorted {
		sum += v
	}
	return sum / float64(len(sorted))
}

func (i interval) String() string {
	return fmt.Sprintf("%.4f, with 95 %% from %.4f to %.4f (%d processes, %d rounds)", i.mean, i.low, i.high, i.processes, i.all)
}
