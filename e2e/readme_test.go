package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headgate/e2e/internal/need"
	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// The README's commands run as they stand, but for ports, NATS's address and the building of the program.
func TestReadme_ItsCommandsWork(t *testing.T) {
	t.Parallel()
	need.Program(t, "curl", "curl")
	must(t, stack.BuildHeadgate())
	ledger := stack.NewLedger(t, "README.md")
	own := stack.StartNATS(t, "").URL()
	var base string          // of the headgate that the last command started
	var stream *proc.Process // the last one that was opened
	for _, block := range stack.Blocks(t, "../README.md") {
		for _, command := range stack.Commands(block.Commands) {
			if !ledger.Mine(command) {
				continue
			}
			ledger.Run(command)
			switch {
			case strings.Contains(command, "curl "):
				stream = curlWorks(t, regexp.MustCompile(`(127\.0\.0\.1|localhost):8080`).ReplaceAllString(command, base))
				for _, line := range block.Prints {
					shows(t, stream, "(?m)^"+strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")+`\r?$`)
				}
			case strings.HasPrefix(command, "go run ."), strings.HasPrefix(command, "go build"):
				base = startFromReadme(t, command, own)
			case strings.HasPrefix(command, "nats pub "):
				shell(t, command, programs(t, own))
				shows(t, stream, "(?m)^data: "+regexp.QuoteMeta(strings.Trim(command[strings.Index(command, "'"):], "'")))
			default:
				t.Errorf("no test knows what to do with the README's %q", command)
			}
		}
	}
	if base == "" {
		t.Error("the README starts no headgate")
	}
}

// startFromReadme starts headgate with a command of the README, on free ports, and returns where it listens.
func startFromReadme(t *testing.T, command, natsURL string) string {
	t.Helper()
	addr, admin := proc.FreeAddr(t), proc.FreeAddr(t)
	env := []string{"HTTP_ADDR=" + addr, "ADMIN_ADDR=" + admin}
	command = strings.Replace(command, "go run .", stack.HeadgateBinary(), 1)
	if rest, ok := strings.CutPrefix(command, "go build -o headgate . && "); ok {
		dir := t.TempDir()
		must(t, os.Symlink(stack.HeadgateBinary(), filepath.Join(dir, "headgate")))
		command = "cd " + dir + " && " + strings.ReplaceAll(rest, "nats://127.0.0.1:4222", natsURL)
	}
	p := shell(t, command, env...)
	ctx, cancel := soon(t)
	defer cancel()
	must(t, p.WaitListening(ctx, addr))
	ready(t, admin)
	return addr
}

// ready waits until a headgate says that it is: it listens a moment before it has reached NATS.
func ready(t *testing.T, admin string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	h := stack.Headgate{AdminAddr: admin}
	must(t, stack.Poll(ctx, func() error {
		status, text, err := h.Admin(ctx, "/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/readyz answers %d: %s", status, text)
		}
		return err
	}))
}

// curlWorks runs a curl, which it returns: a stream must show its first event, anything else a status of success.
func curlWorks(t *testing.T, command string) *proc.Process {
	t.Helper()
	command = strings.ReplaceAll(command, "go run .", stack.HeadgateBinary())
	p := shell(t, strings.Replace(command, "curl ", "curl --no-progress-meter --include ", 1))
	if strings.Contains(command, "curl -N") {
		shows(t, p, `event: \$ready`)
		return p
	}
	shows(t, p, `^HTTP/1\.1 20\d `)
	return p
}
