package feed

import "testing"

// What a message costs in a tail that is full, alone and beside nine others.
func BenchmarkKeep(b *testing.B) {
	for name, n := range map[string]int{"alone": 1, "of ten": 10} {
		b.Run(name, func(b *testing.B) {
			budget := NewBudget(16 << 20)
			feeds := make([]*filler, n)
			for i := range feeds {
				feeds[i] = newFiller(budget)
				feeds[i].put(40_000, 100)
			}
			b.ReportAllocs()
			for b.Loop() {
				feeds[0].put(1, 100)
			}
		})
	}
}
