package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Semantic Versioning 2.0.0, section 2 and 9, without build metadata: an image's tag may not have a plus.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)

var (
	released   = regexp.MustCompile(`(?m)^## \[?(\d[^\]\s]*)\]?(?: - (\S+))?\s*$`)
	appVersion = regexp.MustCompile(`(?m)^appVersion: *"?([^"\s]+)"?\s*$`)
)

// agree says whether the changelog and the chart speak of this version. The image takes its label from the same VERSION.
func agree(src source, version string) error {
	if !semver.MatchString(version) {
		return fmt.Errorf("VERSION=%s is no version: say it as 1.2.3 or 1.2.3-rc.1, without a v", version)
	}
	top, date, err := src.topRelease()
	switch {
	case err != nil:
		return err
	case top == "":
		return fmt.Errorf("CHANGELOG.md has no release yet: put what is under [Unreleased] under a heading ## [%s] - %s", version, time.Now().UTC().Format(time.DateOnly))
	case top != version:
		return fmt.Errorf("the newest release in CHANGELOG.md is %s, and VERSION is %s: put what is under [Unreleased] under a heading ## [%s] - %s, or release %s",
			top, version, version, time.Now().UTC().Format(time.DateOnly), top)
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return fmt.Errorf("CHANGELOG.md dates %s with %q: write ## [%s] - %s", top, date, version, time.Now().UTC().Format(time.DateOnly))
	}
	chart, err := src.chartVersion()
	if err != nil {
		return err
	}
	if chart != version {
		return fmt.Errorf(`deploy/chart/Chart.yaml installs the image %s, and VERSION is %s: write appVersion: "%s" there, and raise its version`, chart, version, version)
	}
	return nil
}

// topRelease is the first release of the changelog, with its date; "" when there is none.
func (s source) topRelease() (version, date string, err error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "CHANGELOG.md"))
	if err != nil {
		return "", "", err
	}
	m := released.FindSubmatch(text)
	if m == nil {
		return "", "", nil
	}
	return string(m[1]), string(m[2]), nil
}

// notes are what the changelog says of a release.
func (s source) notes(version string) (string, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	for _, m := range released.FindAllSubmatchIndex(text, -1) {
		if string(text[m[2]:m[3]]) != version {
			continue
		}
		section, _, _ := strings.Cut(string(text[m[1]:]), "\n## ")
		return strings.TrimSpace(section) + "\n", nil
	}
	return "", fmt.Errorf("CHANGELOG.md has no section ## [%s] - <date>", version)
}

// chartVersion is the version of the image that the chart installs.
func (s source) chartVersion() (string, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "deploy", "chart", "Chart.yaml"))
	if err != nil {
		return "", err
	}
	m := appVersion.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("deploy/chart/Chart.yaml has no appVersion: write the version of the image that it installs")
	}
	return string(m[1]), nil
}
