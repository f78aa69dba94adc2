package encode

import (
	"strings"
	"testing"

	"headgate/internal/flow"
)

// A format is that of one source only where the envelope names it: everybody else goes on sharing frames.
func TestOf_SourcesHaveFormatsOfTheirOwnOnlyWhereTheyAreNamed(t *testing.T) {
	plain := flow.Format{Data: "text", Envelope: "headgate", Token: -1}
	if Of(plain, "a") != Of(plain, "b") {
		t.Error("a route with one source has a format of its own")
	}
	plain.Named = true
	if Of(plain, "a") == Of(plain, "b") || Of(plain, "a") != Of(plain, "a") {
		t.Error("the name of the source is no part of the format")
	}
}

func TestEnvelope_NamesTheSource(t *testing.T) {
	named := Of(flow.Format{Data: "text", Envelope: "headgate", Token: -1, Named: true}, "flags")
	for want, m := range map[string]*Message{
		`{"subject":"a.b","source":"flags","time":`: {Subject: "a.b"},
		`{"key":"b","source":"flags","time":`:       {Subject: "$KV.A.b", Key: "b", Gone: true},
	} {
		if got := block(Compile(named).Encode(m)); !strings.HasPrefix(got, "data: "+want) {
			t.Errorf("got %s", got)
		}
	}
}

// Who reads the attribute relies on it: neither a header that the route lets through nor an attribute of the publisher stands in its place.
func TestCloudEvent_NamesTheSourceInAnAttributeThatNobodyElseHas(t *testing.T) {
	f := flow.Format{Data: "text", Envelope: "cloudevents", Source: "urn:s", Token: -1, Headers: "Headgate-Source"}
	header := map[string][]string{"Headgate-Source": {"theirs"}}
	binary := map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"urn:x"}, "ce-type": {"t"}, "ce-headgatesource": {"theirs"}}
	for name, m := range map[string]*Message{"made": message("a", header), "in binary mode": message("a", binary)} {
		if got := eventOf(t, Compile(f), m); !strings.Contains(got, `"headgatesource":"theirs"`) {
			t.Errorf("%s, one source: %s", name, got)
		}
		f.Named = true
		got := eventOf(t, Compile(Of(f, "flags")), m)
		if !strings.Contains(got, `"headgatesource":"flags"`) || strings.Contains(got, "theirs") || strings.Count(got, "headgatesource") != 1 {
			t.Errorf("%s: %s", name, got)
		}
		f.Named = false
	}
}
