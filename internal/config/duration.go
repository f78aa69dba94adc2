package config

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads what time.ParseDuration reads, refuses what lies before now, and says what is wrong in plain words.
func ParseDuration(text string) (Duration, error) {
	text = strings.TrimSpace(text)
	d, err := time.ParseDuration(text)
	if err != nil {
		if _, e := strconv.ParseFloat(text, 64); e == nil {
			return 0, errors.New("the unit is missing")
		}
		return 0, errors.New("not a duration")
	}
	if d < 0 || strings.HasPrefix(text, "-") {
		return 0, errors.New("less than nothing")
	}
	return d, nil
}

// durationText writes d without the zero parts that time.Duration.String leaves at the end: 2m, not 2m0s.
func durationText(d Duration) string {
	if d == 0 {
		return "0s"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
