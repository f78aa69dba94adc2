package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// excerpt shows the line without its secrets, cut when it is long, and a caret below the column.
func excerpt(line string, at pos) string {
	const most = 100
	runes := []rune(hideSecrets(strings.ToValidUTF8(strings.TrimRight(line, "\r"), "\uFFFD")))
	column := min(at.column-1, len(runes))
	if from := column - most/2; len(runes) > most && from > 0 {
		runes, column = append([]rune("…"), runes[from:]...), most/2+1
	}
	if len(runes) > most {
		runes = append(runes[:most:most], '…')
	}
	for i, c := range runes {
		if c < ' ' || c == 0x7f {
			runes[i] = ' '
		}
	}
	margin := fmt.Sprintf("%4d | ", at.line)
	if len(strings.TrimSpace(string(runes))) == 0 {
		return ""
	}
	return margin + string(runes) + "\n" + strings.Repeat(" ", len(margin)-2) + "| " + strings.Repeat(" ", column) + "^"
}

// What of a line may be a secret, whatever is wrong with the line: many fields can stand on one. A value whose end cannot be told for certain
// is taken to go on to the end of the line.
var (
	urlUser     = regexp.MustCompile(`://(.*)@`)
	urlQuery    = regexp.MustCompile(`(?:://|jwks_url).*?\?(.*)$`)
	secretPlace = regexp.MustCompile(`secret_file["']?\s*:\s*["']?([^\s"',{}]*)(.*)$`)
)

// hideSecrets puts stars in the place of what may be secret, as many as there were characters, so that a caret below stays where it is.
func hideSecrets(line string) string {
	stars := func(from, to int) {
		line = line[:from] + strings.Repeat("*", utf8.RuneCountInString(line[from:to])) + line[to:]
	}
	if m := secretPlace.FindStringSubmatchIndex(line); m != nil && !pathLike.MatchString(line[m[2]:m[3]]) {
		stars(m[2], m[5]) // it may be the secret itself
	}
	for _, part := range []*regexp.Regexp{urlQuery, urlUser} {
		if m := part.FindStringSubmatchIndex(line); m != nil {
			stars(m[2], m[3])
		}
	}
	return line
}
