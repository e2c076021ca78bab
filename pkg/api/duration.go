package api

import "time"

// Duration is a length of time as a person writes it: 500ms, 10s, 1m30s (Gateway API's form, GEP-2257).
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$')",message="not a length of time: write e.g. 500ms, 10s or 1m30s"
type Duration string

// Value is the duration; "", and what the schema refuses, is 0.
func (d Duration) Value() time.Duration {
	v, err := time.ParseDuration(string(d))
	if err != nil || v < 0 {
		return 0
	}
	return v
}
