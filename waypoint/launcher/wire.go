package launcher

import "time"

// A message is a protobuf message in its encoded form, read where it lies: of each request's entry some fifteen
// fields are wanted, and to build the generated structs for them took more time than all else that is done here.
// What is cut short ends there.
type message string

// field is the next field and takes it off; 0 at the end. A varint is in v, what has a length in body.
func (m *message) field() (num int, v uint64, body message) {
	key := m.varint()
	switch key & 7 {
	case 0:
		v = m.varint()
	case 1:
		m.skip(8)
	case 2:
		n := m.varint()
		if n > uint64(len(*m)) {
			*m = ""
			return 0, 0, ""
		}
		body, *m = (*m)[:n], (*m)[n:]
	case 5:
		m.skip(4)
	default: // groups, which are not used
		*m = ""
		return 0, 0, ""
	}
	return int(key >> 3), v, body
}

func (m *message) varint() (v uint64) {
	for i := range min(len(*m), 10) {
		b := (*m)[i]
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			*m = (*m)[i+1:]
			return v
		}
	}
	*m = ""
	return 0
}

func (m *message) skip(n int) { *m = (*m)[min(n, len(*m)):] }

// first is the varint in field 1 of a wrapper.
func (m message) first() uint64 {
	for {
		switch num, v, _ := m.field(); num {
		case 0:
			return 0
		case 1:
			return v
		}
	}
}

// span is a Duration, or a Timestamp since 1970.
func (m message) span() (seconds int64, nanos int64) {
	for {
		switch num, v, _ := m.field(); num {
		case 0:
			return seconds, nanos
		case 1:
			seconds = int64(v)
		case 2:
			nanos = int64(int32(v))
		}
	}
}

func (m message) duration() time.Duration {
	s, n := m.span()
	return time.Duration(s)*time.Second + time.Duration(n)
}

func (m message) time() time.Time {
	s, n := m.span()
	return time.Unix(s, n)
}
