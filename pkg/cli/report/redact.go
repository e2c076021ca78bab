package report

import "regexp"

const redacted = "[REDACTED]"

// secretPatterns find what must not leave a cluster, wherever it stands; $1 stays.
var secretPatterns = []*regexp.Regexp{
	regexp.MustCompile(`(?s)()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)`),
	// In JSON the lines of a key end with \n written out; the pattern above takes those as well.
	regexp.MustCompile(`()eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), // a JWT
	regexp.MustCompile(`(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}`),
	regexp.MustCompile(`(?i)(basic\s+)[A-Za-z0-9+/]{12,}={0,2}`),
	regexp.MustCompile(`(://[^/\s:@"]*:)[^/\s:@"]+(@)`), // of a URL: user:password@
	regexp.MustCompile(`(?i)("?[a-z0-9_.-]*(?:password|passwd|secret[-_]?key|access[-_]?key|private[-_]?key|client[-_]?secret|api[-_]?key|auth[-_]?token)"?\s*[:=]\s*"?)[^\s",}]+`),
}

// Redact takes keys, tokens and passwords out of a text.
func Redact(text []byte) []byte {
	for _, p := range secretPatterns {
		with := "${1}" + redacted
		if p.NumSubexp() > 1 {
			with += "${2}"
		}
		text = p.ReplaceAll(text, []byte(with))
	}
	return text
}
