package telemetry

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// appendJSON encodes by hand: a line per connection should not cost reflection.
func appendJSON(b []byte, r *Record) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	b = jsonString(b, "direction", r.Direction)
	b = jsonAddr(b, "src_addr", r.Source.Address)
	b = jsonString(b, "src_workload", r.Source.Workload)
	b = jsonString(b, "src_identity", r.Source.Identity)
	b = jsonAddr(b, "dst_addr", r.Dest.Address)
	b = jsonAddr(b, "dst_dialled", r.Host)
	b = jsonString(b, "dst_service", r.Service)
	b = jsonString(b, "dst_workload", r.Dest.Workload)
	b = jsonString(b, "dst_identity", r.Dest.Identity)
	b = jsonString(b, "waypoint", r.Via)
	b = jsonString(b, "security", string(r.Security))
	b = append(b, `,"bytes_sent":`...)
	b = strconv.AppendUint(b, r.Sent, 10)
	b = append(b, `,"bytes_received":`...)
	b = strconv.AppendUint(b, r.Received, 10)
	b = append(b, `,"duration_ms":`...)
	b = strconv.AppendFloat(b, float64(r.Duration.Microseconds())/1000, 'f', 3, 64)
	b = jsonString(b, "flags", string(r.Flags))
	if r.Retries > 0 {
		b = append(b, `,"retries":`...)
		b = strconv.AppendInt(b, int64(r.Retries), 10)
	}
	b = jsonString(b, "policy", r.Policy)
	b = jsonString(b, "fault", r.Fault)
	b = jsonString(b, "dry_run", strings.Join(r.DryRun, ","))
	b = jsonString(b, "cause", r.Cause)
	b = jsonString(b, "hint", r.Hint)
	b = jsonString(b, "trace_id", r.Trace)
	return append(b, '}', '\n')
}

func jsonString(b []byte, key, v string) []byte {
	if v == "" {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':')
	if plainASCII(v) {
		b = append(b, '"')
		b = append(b, v...)
		return append(b, '"')
	}
	q, err := json.Marshal(v)
	if err != nil { // a string always marshals
		return append(b, `""`...)
	}
	return append(b, q...)
}

func jsonAddr(b []byte, key string, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':', '"')
	b = a.AppendTo(b)
	return append(b, '"')
}

func plainASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// appendText writes: time direction source -> destination, then key=value for what is known.
func appendText(b []byte, r *Record) []byte {
	b = r.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, ' ')
	b = append(b, r.Direction...)
	b = append(b, ' ')
	b = textEnd(b, r.Source)
	b = append(b, " -> "...)
	b = textEnd(b, r.Dest)
	b = textField(b, "dialled", addrText(r.Host))
	b = textField(b, "service", r.Service)
	b = textField(b, "waypoint", r.Via)
	b = textField(b, "security", string(r.Security))
	b = append(b, " sent="...)
	b = strconv.AppendUint(b, r.Sent, 10)
	b = append(b, " received="...)
	b = strconv.AppendUint(b, r.Received, 10)
	b = textField(b, "duration", r.Duration.Round(time.Microsecond).String())
	b = textField(b, "flags", string(r.Flags))
	if r.Retries > 0 {
		b = append(b, " retries="...)
		b = strconv.AppendInt(b, int64(r.Retries), 10)
	}
	b = textField(b, "policy", r.Policy)
	b = textField(b, "fault", r.Fault)
	b = textField(b, "dry_run", strings.Join(r.DryRun, ","))
	b = textField(b, "cause", r.Cause)
	b = textField(b, "hint", r.Hint)
	b = textField(b, "trace_id", r.Trace)
	return append(b, '\n')
}

func addrText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func textEnd(b []byte, e End) []byte {
	if e.Address.IsValid() {
		b = e.Address.AppendTo(b)
	} else {
		b = append(b, '-')
	}
	if e.Workload != "" || e.Identity != "" {
		b = append(b, '(')
		b = append(b, e.Workload...)
		if e.Identity != "" {
			if e.Workload != "" {
				b = append(b, ' ')
			}
			b = append(b, e.Identity...)
		}
		b = append(b, ')')
	}
	return b
}

func textField(b []byte, key, v string) []byte {
	if v == "" {
		return b
	}
	b = append(b, ' ')
	b = append(b, key...)
	b = append(b, '=')
	if plainASCII(v) && !strings.Contains(v, " ") {
		return append(b, v...)
	}
	return strconv.AppendQuote(b, v)
}
