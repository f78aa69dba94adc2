package walk_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"headgate/internal/walk"
)

func TestStill_ListsWhatIsFoundEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			looks [][]string
			want  []string
			asked int
		}{
			{[][]string{{}}, nil, 1},
			{[][]string{{"a"}, {}}, nil, 2},
			{[][]string{{"a", "b"}, {"b", "c"}, {"c", "b"}}, []string{"b"}, 3},
			{[][]string{{"a", "b"}, {"b", "a"}, {"a"}}, []string{"a"}, 3},
		} {
			asked := 0
			got, err := walk.Still(t.Context(), func() []string { asked++; return c.looks[asked-1] })
			if err != nil || !slices.Equal(got, c.want) || asked != c.asked {
				t.Errorf("%v: %v after %d looks, %v", c.looks, got, asked, err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := walk.Still(ctx, func() []string { cancel(); return []string{"a"} }); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of its context: %v", err)
		}
	})
}
