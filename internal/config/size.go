package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size: 65536, 64KiB, 1MiB, 1.5GiB, or with KB, MB, GB for powers of ten.
type Bytes int64

// units from large to small, so that String finds the largest that divides.
var units = []struct {
	name string
	size float64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

var errSize = errors.New("not a size")

// ParseBytes reads a size. Units are taken in any case; a number without unit counts bytes.
func ParseBytes(text string) (Bytes, error) {
	number, factor := strings.TrimSpace(text), 1.0
	for _, u := range units {
		if head, ok := cutSuffixFold(number, u.name); ok {
			number, factor = strings.TrimSpace(head), u.size
			break
		}
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && factor == 1 {
		if n < 0 || number[0] == '-' {
			return 0, errors.New("less than nothing")
		}
		return Bytes(n), nil
	}
	if strings.Trim(number, "0123456789.") != "" {
		return 0, errSize
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, errSize
	}
	if f *= factor; f >= math.MaxInt64 {
		return 0, errors.New("too large")
	}
	return Bytes(math.Round(f)), nil
}

func cutSuffixFold(s, suffix string) (string, bool) {
	n := len(s) - len(suffix)
	if n < 0 || !strings.EqualFold(s[n:], suffix) {
		return s, false
	}
	return s[:n], true
}

// String writes b with the largest binary unit that divides it, else in bytes, so that ParseBytes gives b back.
func (b Bytes) String() string {
	for _, u := range units[:3] {
		if n := int64(u.size); b != 0 && int64(b)%n == 0 {
			return strconv.FormatInt(int64(b)/n, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}
