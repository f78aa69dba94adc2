package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// query is the request's query parameters. Unknown ones are ignored, also where they cannot be read.
type query struct {
	values url.Values
	raw    string
	err    error
}

// queryOf reads the query once. A broken part is left out here; who needs the query whole asks for the error, and who needs one parameter
// whether a broken part may be that.
func queryOf(r *http.Request) query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	return query{values, r.URL.RawQuery, err}
}

// first is the first value of a parameter, a copy that does not hold the request in memory.
func (q query) first(name string) (string, bool) {
	v, ok := q.values[name]
	if !ok || len(v) == 0 {
		return "", false
	}
	return strings.Clone(v[0]), true
}

// whole refuses a query in which a parameter may be hidden: what cannot be read is not the same as what is not there. Of a query with more
// than 10,000 parts net/url reads none.
func (q query) whole(name string) error {
	if q.err == nil {
		return nil
	}
	_, there := q.values[name]
	for pair := range strings.SplitSeq(q.raw, "&") {
		read, ok := readName(pair)
		if !ok && mayBe(pair, name) || ok && read == name && !there {
			return &refusal{kind: queryInvalid}
		}
	}
	return nil
}

// readName is the name in a part of a query, and whether the part can be read, as url.ParseQuery does it.
func readName(pair string) (string, bool) {
	if strings.Contains(pair, ";") {
		return "", false
	}
	written, value, _ := strings.Cut(pair, "=")
	name, err := url.QueryUnescape(written)
	if err != nil {
		return "", false
	}
	_, err = url.QueryUnescape(value)
	return name, err == nil
}

// mayBe says whether a broken part of a query can be meant as that parameter: it has that name, however it is written, or one that nobody can
// read; or it is one of several between semicolons, which some take for separators.
func mayBe(pair, name string) bool {
	return slices.ContainsFunc(strings.Split(pair, ";"), func(part string) bool {
		written, _, _ := strings.Cut(part, "=")
		read, err := url.QueryUnescape(written)
		return err != nil || read == name
	})
}
