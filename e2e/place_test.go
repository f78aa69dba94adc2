package e2e_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headgate/e2e/internal/stack"
)

// place is where the commands of a document are run: what the document calls by names that hold everywhere, and what is there.
type place struct {
	ledger *stack.Ledger
	names  []string // old and new, in turn
	env    []string
}

// runs runs a block of a document, looks for what the document says that it prints, and returns what it did print. A line of the document may
// leave things out with an ellipsis.
func (p place) runs(t *testing.T, b stack.Block) string {
	t.Helper()
	p.ledger.Run(b.Commands)
	command := strings.NewReplacer(p.names...).Replace(b.Commands)
	sh := shell(t, command, p.env...)
	ctx, cancel := soon(t)
	defer cancel()
	code, err := sh.Wait(ctx)
	must(t, err)
	if code != 0 && !(code == 28 && strings.Contains(command, " -m ")) { // 28: curl's time is over, as it should be for a stream
		t.Errorf("%s\nends with %d:\n%s", command, code, sh.Output())
	}
	for _, line := range b.Prints {
		if !regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")).MatchString(sh.Output()) {
			t.Errorf("%s\ndoes not print %q, but\n%s", command, line, sh.Output())
		}
	}
	return sh.Output()
}

// programs is a directory with headgate and nats in it, for commands that name them, and PATH with it.
func programs(t *testing.T, natsURL string) string {
	t.Helper()
	dir := stack.NATSCommand(t, natsURL)
	must(t, os.Symlink(stack.HeadgateBinary(), filepath.Join(dir, "headgate")))
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}
