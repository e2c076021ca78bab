// Package version says what was built. Values are set by the linker (-X) in release builds.
package version

import "runtime/debug"

// Version of this build, v0.0.0-dev outside of releases.
var Version = "v0.0.0-dev"

// revision is what the linker was told, for builds that the go command does not stamp.
var revision string

// Commit is the VCS revision of this build, or "unknown".
func Commit() string {
	if revision != "" {
		return revision
	}
	if bi, ok := debug.ReadBuildInfo(); ok {
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
