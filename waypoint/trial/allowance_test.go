package trial

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAllowance(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name, max, stat string // "-": no such file
		want            uint64
		says            string
	}{
		{"no cgroup of version 2", "-", "-", maxMemory, ""},
		{"no limit", "max\n", "anon 1\n", maxMemory, ""},
		{"much left", "8589934592\n", "anon 104857600\nfile 5\n", maxMemory, ""},
		{"some left", "536870912\n", "file 400000000\nanon 134217728\n", 288 * mib, ""},
		{"too little", "268435456\n", "anon 134217728\n", 0, "uses 128 of the 256 MiB"},
		{"beyond the limit", "268435456\n", "anon 268439552\n", 0, "resources.limits.memory"},
		{"not to be read", "268435456\n", "-", 0, "how much memory is left"},
		{"no number", "268435456\n", "anon x\n", 0, "how much memory is left"},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"memory.max": c.max, "memory.stat": c.stat} {
			if text == "-" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := allowance(dir)
		if got != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %d %v", c.name, got, err)
		}
	}
}
