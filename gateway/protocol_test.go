package gateway_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"headgate/gateway"
	"headgate/internal/delivery"
	"headgate/internal/gap"
)

// The page is what clients are told, so it has every refusal with its status, every cause and every reason that can be seen.
func TestProtocolPage_ListsWhatClientsCanSee(t *testing.T) {
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, p := range gateway.Problems() {
		if row := fmt.Sprintf("| `%s` | %d |", p.Slug, p.Status); !strings.Contains(text, row) {
			t.Errorf("no row %q", row)
		}
		if p.Cause != "" && !strings.Contains(text, "`"+p.Cause+"`") {
			t.Errorf("the cause %q is missing", p.Cause)
		}
	}
	notYet := map[delivery.Reason]bool{delivery.Rate: true}
	for _, r := range delivery.Reasons() {
		if listed := strings.Contains(text, "`"+r.String()+"`"); !listed && !notYet[r] {
			t.Errorf("the reason %q is missing", r)
		}
	}
	for _, r := range gap.Reasons() {
		if r != gap.Rate && !strings.Contains(text, "| `"+r.String()+"` | ") {
			t.Errorf("the gap reason %q is missing", r)
		}
	}
	for _, event := range []string{"$ready", "$snapshot", "$live", "$gap", "$expiring", "$end", "put", "delete", "purge", "expire"} {
		if !strings.Contains(text, "| `"+event+"` | ") {
			t.Errorf("the event %q is missing", event)
		}
	}
}
