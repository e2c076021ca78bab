package main

import (
	"context"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"time"
)

var envoyVersion = regexp.MustCompile(`/(\d+\.\d+\.\d+[^/]*)/`)

// foreign finds out the version of a file that Go did not build, and its package's name for scanners; both
// stay empty where this machine cannot tell.
func foreign(f file) (version string, refs []spdxExternal) {
	if path.Base(f.path) == "envoy" {
		// ".../envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL"
		if m := envoyVersion.FindStringSubmatch(output(f.from, "--version")); m != nil {
			return m[1], purl("github", "envoyproxy/envoy", "v"+m[1])
		}
		return "", nil
	}
	owner, _, found := strings.Cut(output("dpkg-query", "--search", f.path), ": ")
	if !found { // merged /usr: dpkg knows the file by its other name
		owner, _, found = strings.Cut(output("dpkg-query", "--search", f.from), ": ")
	}
	if version = output("dpkg-query", "--show", "--showformat", "${Version}", owner); !found || version == "" {
		return "", nil
	}
	name, _, _ := strings.Cut(owner, ":")
	return version, purl("deb", "debian/"+name, version)
}

// output of a program, empty when it fails.
func output(name string, args ...string) string {
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
