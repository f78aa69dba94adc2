//go:build linux

package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// An interval for 95 % holds the true ratio about 95 times in a hundred, also where processes differ by more than their rounds do, and where
// some rounds are far off.
func TestPaired_TheIntervalHoldsWhatIsTrue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const truth, tries = 1.01, 2000
	holds, width := 0, 0.0
	for range tries {
		var p paired
		for range 10 {
			p.begin()
			own := random.NormFloat64() * 0.01
			for range 20 {
				ratio := truth * math.Exp(own+random.NormFloat64()*0.02)
				if random.IntN(20) == 0 {
					ratio *= []float64{0.7, 1.4}[random.IntN(2)]
				}
				p.add(ratio)
			}
		}
		i := p.interval()
		if i.low <= truth && truth <= i.high {
			holds++
		}
		width += (i.high - i.low) / tries
	}
	if holds < tries*92/100 || holds > tries*98/100 || width > 0.03 {
		t.Errorf("the interval holds in %d of %d tries, and is %.4f wide", holds, tries, width)
	}
}

func TestPaired_OneProcessSaysNothing(t *testing.T) {
	var p paired
	if i := p.interval(); !math.IsNaN(i.mean) || i.high <= 1.02 {
		t.Errorf("%v", i)
	}
	p.begin()
	p.add(1)
	if i := p.interval(); i.mean != 1 || !math.IsInf(i.high, 1) {
		t.Errorf("%v", i)
	}
}
