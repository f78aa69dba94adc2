package main

import (
	"encoding/json"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"headgate/internal/config"
)

// document is one Markdown file.
type document struct {
	name string // path from the root
	text string
}

// documents are those that say what headgate is now; the changelog and the decisions say what it was.
func documents(t *testing.T) []document {
	t.Helper()
	var all []document
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "adr" || d.Name() == "testdata" || d.Name() == "node_modules" || name != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".md" || name == "CHANGELOG.md":
			return nil
		}
		text, err := os.ReadFile(name)
		all = append(all, document{filepath.ToSlash(name), string(text)})
		return err
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("%d documents read: %v", len(all), err)
	}
	return all
}

// fenced are the fenced blocks of a document: their language and their text.
func (d document) fenced() (blocks [][2]string) {
	for _, m := range regexp.MustCompile("(?ms)^ *```(\\w*)\n(.*?)^ *```$").FindAllStringSubmatch(d.text, -1) {
		blocks = append(blocks, [2]string{m[1], m[2]})
	}
	return blocks
}

func TestDocs_EveryVariableExists(t *testing.T) {
	reference, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	known, prefixes := map[string]bool{}, map[string]bool{"HEADGATE": true}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Z_0-9]+)` \\|").FindAllStringSubmatch(string(reference), -1) {
		known[m[1]] = true
		if prefix, _, ok := strings.Cut(m[1], "_"); ok {
			prefixes[prefix] = true
		}
	}
	for _, name := range []string{"HEADGATE_RELOADS", "HEADGATE_ROLLOUT_STREAMS", "HEADGATE_PROXY_STREAMS", "HEADGATE_REQUIRE_E2E", // of tests
		"NATS_SERVERS", "SSE_HEARTBEET", "NATS_PORT", "NATS_SERVICE_HOST", "NATS_CONTEXT", "HTTP_PROXY"} { // given as what is not headgate's
		known[name] = true
	}
	for _, d := range documents(t) {
		for _, name := range regexp.MustCompile(`\b[A-Z]+_[A-Z_0-9]*[A-Z0-9]\b`).FindAllString(d.text, -1) {
			if prefix, _, _ := strings.Cut(name, "_"); prefixes[prefix] && !known[name] {
				t.Errorf("%s: there is no variable %s", d.name, name)
			}
		}
	}
}

// literals are the texts in the module's own code, by directory; texts that are joined by + are one.
func literals(t *testing.T) map[string]map[string]bool {
	t.Helper()
	all, _ := sources(t)
	found := map[string]map[string]bool{}
	for _, s := range all {
		if s.test {
			continue
		}
		if found[s.dir] == nil {
			found[s.dir] = map[string]bool{}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			e, ok := n.(ast.Expr)
			if !ok {
				return true
			}
			text, ok := joined(e)
			if ok {
				found[s.dir][text] = true
			}
			return !ok
		})
	}
	return found
}

func joined(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, e.Kind == token.STRING && err == nil
	case *ast.BinaryExpr:
		left, ok := joined(e.X)
		right, also := joined(e.Y)
		return left + right, ok && also && e.Op == token.ADD
	}
	return "", false
}

func TestDocs_EveryMetricExists(t *testing.T) {
	known := map[string]bool{}
	for _, texts := range literals(t) {
		for text := range texts {
			if !strings.HasPrefix(text, "headgate_") {
				continue
			}
			known[text] = true
			for rest := range texts { // a prefix, and the rest of the name elsewhere in the package
				if strings.HasSuffix(text, "_") && regexp.MustCompile(`^[a-z_]+$`).MatchString(rest) {
					known[text+rest] = true
				}
			}
		}
	}
	begins := func(prefix string) bool {
		for name := range known {
			if name != prefix && strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return false
	}
	named := 0
	for _, d := range documents(t) {
		for _, name := range regexp.MustCompile(`\bheadgate_(?:[a-z][a-z0-9_]*)?`).FindAllString(d.text, -1) {
			named++
			whole := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			if !known[name] && !known[whole] && !(strings.HasSuffix(name, "_") && begins(name)) {
				t.Errorf("%s: there is no metric %s", d.name, name)
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d names of metrics found", named)
	}
}

// What documents call a line of the log is a line of the log.
func TestDocs_EveryLineOfTheLogExists(t *testing.T) {
	known := literals(t)
	quoted := 0
	for _, d := range documents(t) {
		for _, m := range regexp.MustCompile("\\*\\*Log:\\*\\* `([^`]+)`").FindAllStringSubmatch(d.text, -1) {
			quoted++
			found := false
			for _, texts := range known {
				found = found || texts[m[1]]
			}
			if !found {
				t.Errorf("%s: nothing logs %q", d.name, m[1])
			}
		}
	}
	if quoted < 5 {
		t.Errorf("only %d lines of the log found", quoted)
	}
}

// fieldsOf collects the fields of the routes file by the field that they are in, from its schema.
func fieldsOf(t *testing.T) map[string]map[string]bool {
	t.Helper()
	text, err := os.ReadFile("docs/routes.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	fields := map[string]map[string]bool{}
	var walk func(node any, in string)
	walk = func(node any, in string) {
		switch node := node.(type) {
		case []any:
			for _, n := range node {
				walk(n, in)
			}
		case map[string]any:
			properties, _ := node["properties"].(map[string]any)
			for name, n := range properties {
				if fields[in] == nil {
					fields[in] = map[string]bool{}
				}
				fields[in][name] = true
				walk(n, name)
			}
			for key, n := range node {
				if key != "properties" && key != "examples" {
					walk(n, in)
				}
			}
		}
	}
	walk(schema, "")
	return fields
}

func TestDocs_EveryFieldOfARouteExists(t *testing.T) {
	fields := fieldsOf(t)
	every := map[string]bool{}
	for _, of := range fields {
		for name := range of {
			every[name] = true
		}
	}
	named := 0
	for _, d := range documents(t) {
		if strings.HasPrefix(d.name, "bench/") || d.name == "docs/proxies.md" {
			continue // whose words with colons are of other files
		}
		for _, m := range regexp.MustCompile("`([a-z_]+)\\.([a-z_]+)(?:`|:)").FindAllStringSubmatch(d.text, -1) {
			if fields[m[1]] != nil && m[1] != "routes" /* those are values of the chart */ && !regexp.MustCompile(`^(go|yaml|json|md|conf|new)$`).MatchString(m[2]) {
				named++
				if !fields[m[1]][m[2]] {
					t.Errorf("%s: %s has no field %s", d.name, m[1], m[2])
				}
			}
		}
		for _, m := range regexp.MustCompile("`([a-z]+_[a-z_]+): ").FindAllStringSubmatch(d.text, -1) {
			named++
			if !every[m[1]] {
				t.Errorf("%s: there is no field %s", d.name, m[1])
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d fields found", named)
	}
}

// The routes in documents are good, as they stand.
func TestDocs_EveryRoutesFileIsGood(t *testing.T) {
	files := 0
	for _, d := range documents(t) {
		for _, block := range d.fenced() {
			if block[0] != "yaml" || !regexp.MustCompile(`(?m)^routes:$`).MatchString(block[1]) {
				continue
			}
			files++
			text := block[1]
			if !strings.Contains(text, "version:") {
				text = "version: 1\n" + text
			}
			file := filepath.Join(t.TempDir(), "routes.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			environ := []string{"ROUTES_FILE=" + file, "AUTH_MODE=none"}
			if regexp.MustCompile(`(?m)^auth:|\{claims\.|require:`).MatchString(text) {
				environ[1] = "AUTH_MODE=jwt"
			}
			if environ[1] == "AUTH_MODE=jwt" && !strings.Contains(text, "issuers:") {
				environ = append(environ, "AUTH_ISSUER=https://login.example", "AUTH_AUDIENCE=headgate", "AUTH_JWKS_URL=https://login.example/jwks.json")
			}
			if _, _, err := config.Load(config.Options{Environ: environ}); err != nil {
				t.Errorf("%s:\n%s\n%v", d.name, text, err)
			}
		}
	}
	if files < 3 {
		t.Errorf("only %d routes files found", files)
	}
}

// slug is the anchor that a code host makes of a heading.
func slug(heading string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	heading = regexp.MustCompile(`[^\p{L}\p{N}\- _]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(strings.TrimSpace(heading), " ", "-")
}

func anchors(text string) map[string]bool {
	found := map[string]bool{"": true}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		found[slug(m[1])] = true
	}
	for _, m := range regexp.MustCompile(`<a id="([^"]+)">`).FindAllStringSubmatch(text, -1) {
		found[m[1]] = true
	}
	return found
}

func TestDocs_EveryLinkLeadsSomewhere(t *testing.T) {
	links := 0
	for _, d := range documents(t) {
		prose := regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(d.text, "")
		for _, m := range regexp.MustCompile(`\]\(([^)\s]*)\)`).FindAllStringSubmatch(prose, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			text := d.text
			if file != "" {
				name := path.Join(path.Dir(d.name), file)
				if _, err := os.Stat(name); err != nil {
					t.Errorf("%s: the link to %s leads nowhere", d.name, m[1])
					continue
				}
				if anchor == "" || path.Ext(name) != ".md" {
					continue
				}
				target, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				text = string(target)
			}
			if !anchors(text)[anchor] {
				t.Errorf("%s: %s has no such heading", d.name, m[1])
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links found", links)
	}
}

// Each reason that a client can be told has its line on the page for those who look for it.
func TestDocs_EveryGapIsInTroubleshooting(t *testing.T) {
	section := func(file, heading string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), heading+"\n")
		if !ok {
			t.Fatalf("%s has no %s", file, heading)
		}
		return regexp.MustCompile(`(?ms)^#+ .*`).ReplaceAllString(rest, "")
	}
	help := section("docs/troubleshooting.md", "## Gaps")
	reasons := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(section("docs/protocol.md", "### Reasons of `$gap`"), -1)
	if len(reasons) < 10 {
		t.Fatalf("%d reasons", len(reasons))
	}
	for _, m := range reasons {
		if !regexp.MustCompile("(?m)^\\| [^|]*`" + m[1] + "`").MatchString(help) {
			t.Errorf("docs/troubleshooting.md does not say what to do about %s", m[1])
		}
	}
}

// Reasons, outcomes and causes that help is given for are words of the protocol or of the code.
func TestDocs_EveryWordOfTheWireExists(t *testing.T) {
	protocol, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	help, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	known := literals(t)
	words := 0
	for _, m := range regexp.MustCompile("`([a-z]+(?:-[a-z]+)+)`").FindAllStringSubmatch(string(help), -1) {
		words++
		found := strings.Contains(string(protocol), m[1])
		for _, texts := range known {
			found = found || texts[m[1]]
		}
		if !found {
			t.Errorf("docs/troubleshooting.md: nothing is called %s", m[1])
		}
	}
	if words < 25 {
		t.Errorf("only %d words found", words)
	}
}
