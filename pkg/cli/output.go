package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// checkOutput refuses a value of -o that the command does not have. Empty is the text for people.
func checkOutput(output string, known ...string) error {
	if output == "" || slices.Contains(known, output) {
		return nil
	}
	return &exitError{2, fmt.Errorf("-o %s: want %s, or leave it out", output, strings.Join(known, ", "))}
}

// printData writes a value for programs, as json or yaml.
func (e *env) printData(v any, output string) error {
	data, err := json.MarshalIndent(v, "", "  ")
	data = append(data, '\n')
	if output == "yaml" {
		data, err = yaml.Marshal(v)
	}
	if err != nil {
		return fmt.Errorf("write as %s: %w", output, err)
	}
	_, err = e.stdout.Write(data)
	return err
}
