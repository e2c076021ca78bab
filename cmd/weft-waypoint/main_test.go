package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestBadFlags(t *testing.T) {
	for want, args := range map[string][]string{
		"--access-log": {"--access-log", "xml"},
		"--log-level":  {"--log-level", "loud"},
		"--log-format": {"--log-format", "xml"},
		"gateway":      {"--controller", "x:1"},
		"--controller": {"--gateway", "a/b"},
		"unknown flag": {"--nonsense"},
	} {
		c := command()
		c.SetArgs(args)
		c.SetOut(&bytes.Buffer{})
		if err := c.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error about %s", args, err, want)
		}
	}
}
