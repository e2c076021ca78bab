package version

import (
	"encoding/json"
	"net/http"
	"runtime"
)

// Info is what /version of every program's admin pages shows.
type Info struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

// Get describes the running program.
func Get() Info { return Info{Version: Version, Commit: Commit(), Go: runtime.Version()} }

// Page serves Get as JSON.
func Page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Get())
}
