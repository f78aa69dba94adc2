package deploy_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const operations = "../../docs/operations.md"

// shellBlocks are the fenced blocks of the operations page that are commands: sh. Which test runs which is in docs/commands.md.
func shellBlocks(t *testing.T) []string {
	t.Helper()
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(read(t, operations), -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) < 3 {
		t.Fatalf("%d blocks", len(blocks))
	}
	return blocks
}

func TestDocs_EveryAlertHasItsPlaceInTheRunbookAndNothingElseHas(t *testing.T) {
	page := read(t, operations)
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (Headgate\w+)\n(.+)`).FindAllStringSubmatch(page, -1) {
		sections[m[1]] = true
	}
	for _, a := range alerts(t) {
		if !sections[a.Alert] {
			t.Errorf("docs/operations.md has no ### %s with something to do", a.Alert)
		}
		delete(sections, a.Alert)
	}
	if len(sections) > 0 {
		t.Errorf("the runbook has alerts that do not exist: %v", sections)
	}
	for _, m := range regexp.MustCompile(`\]\(#(headgate\w+)\)`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(strings.ToLower(page), "### "+m[1]+"\n") {
			t.Errorf("a link leads to #%s, which does not exist", m[1])
		}
	}
}

// Metrics and values that the page names are there.
func TestDocs_TheNamesOnTheOperationsPageExist(t *testing.T) {
	page := read(t, operations)
	sources := read(t, "../../docs/configuration.md") + read(t, chart+"/values.yaml")
	for _, m := range regexp.MustCompile("`((?:SSE|NATS|HTTP|JETSTREAM|LIMIT|AUTH|SHUTDOWN|ADMIN|CORS)_[A-Z_]+)").FindAllStringSubmatch(page, -1) {
		if !strings.Contains(sources, "`"+m[1]+"`") {
			t.Errorf("there is no setting %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`((?:metrics|drain|http|nats|auth|routes|httpRoute|networkPolicy|podDisruptionBudget|autoscaling)\\.[a-zA-Z.]+)").FindAllStringSubmatch(page, -1) {
		for _, word := range strings.Split(m[1], ".") {
			if !regexp.MustCompile(`\b` + word + `:`).MatchString(sources) {
				t.Errorf("there is no value %s", m[1])
			}
		}
	}
}

// The table of limits is what the formula above it gives.
func TestDocs_TheTableOfMemoryLimitsFollowsFromTheFormula(t *testing.T) {
	const base, tail, ring, user, kernel, blocked, share = 20.0, 256.0, 64.0, 2.0 / 1024, 4.1 / 1024, 44.0 / 1024, 0.01
	rows := regexp.MustCompile(`(?m)^\| (\d+) \| (\d+) MiB \| (\d+) MiB \| (\d+)(Mi|Gi) \|$`).FindAllStringSubmatch(read(t, operations), -1)
	if len(rows) < 4 {
		t.Fatalf("%d rows", len(rows))
	}
	number := func(s string) float64 { n, _ := strconv.ParseFloat(s, 64); return n }
	for _, r := range rows {
		n := number(r[1])
		forGo, forKernel := 2*(base+tail+ring+n*user), 2*(n*kernel+n*share*blocked)
		if fmt.Sprintf("%.0f %.0f", forGo, forKernel) != r[2]+" "+r[3] {
			t.Errorf("%s streams: the formula gives %.0f MiB and %.0f MiB", r[1], forGo, forKernel)
		}
		limit := number(r[4])
		if r[5] == "Gi" {
			limit *= 1024
		}
		if need := max(forGo, forKernel); limit < need || limit > 2*need {
			t.Errorf("%s streams need %.0f MiB, and the table says %s%s", r[1], need, r[4], r[5])
		}
	}
}

// The lines with curl are run against a headgate, with its ports in place of those of the page.
func TestDocs_TheCurlLinesWork(t *testing.T) {
	t.Parallel()
	needed(t, "curl", "curl")
	addrs := serve(t)
	lines := 0
	for _, block := range shellBlocks(t) {
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "curl ") {
				continue
			}
			lines++
			line = strings.NewReplacer("localhost:9090", addrs.admin, "localhost:8080", addrs.public).Replace(line)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			out, err := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", line).CombinedOutput()
			cancel()
			if err != nil || len(out) == 0 {
				t.Errorf("%s: %v %s", line, err, out)
			}
		}
	}
	if lines == 0 {
		t.Error("the page has no curl line")
	}
}

// The lines with helm are run against the cluster, from the repository's root, in the order of the page.
func TestCluster_TheCommandsOfTheOperationsPageWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.define()
	dir := filepath.Dir(built(t, bin.helm))
	blocks := 0
	for _, block := range shellBlocks(t) {
		if !strings.HasPrefix(block, "helm ") {
			continue
		}
		blocks++
		cmd := exec.Command("bash", "-euxo", "pipefail", "-c", block)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "KUBECONFIG="+c.kubeconfig)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s%v\n%s", block, err, out)
		}
		t.Logf("%s", out)
	}
	if blocks < 2 {
		t.Errorf("%d blocks with helm", blocks)
	}
	if left := c.left("edge"); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// The builder sees no more than .dockerignore lets through, and that has to be every package of the program.
func TestImage_ItsContextHasEveryPackage(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-tags", "nodev", "-f", "{{if not .Standard}}{{with .Module}}{{if .Main}}{{$.ImportPath}}{{end}}{{end}}{{end}}", ".")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	ignore := read(t, "../../.dockerignore")
	for _, path := range strings.Fields(string(out)) {
		if _, below, ok := strings.Cut(path, "/"); ok {
			top, _, _ := strings.Cut(below, "/")
			if !strings.Contains(ignore, "\n!"+top+"\n") {
				t.Errorf(".dockerignore keeps %s out of the image: add !%s", path, top)
			}
		}
	}
}
