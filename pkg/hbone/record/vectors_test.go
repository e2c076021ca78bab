package record

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"io"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func withSecret(t testing.TB, id uint16, secret []byte) keys {
	t.Helper()
	s, err := suiteOf(id)
	if err != nil {
		t.Fatal(err)
	}
	var k keys
	if err := k.set(s, bytes.Clone(secret)); err != nil {
		t.Fatal(err)
	}
	return k
}

// The application traffic of RFC 8448, section 3.
const (
	vectorClient = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
	vectorServer = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"

	// The server's first record, a ticket.
	vectorTicket = `17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db289a0159
40252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e0
9c30ba1e62972ac46f75f7b981be63439b2999ce13064615139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77
f81b5ab05b94c01346755f69232c86519d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74
bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779b37bf15985684f`

	vectorClientData = `1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a297
7014bd1e3deae63aeebb21694915e4`
	vectorServerData = `17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c
0047c2abf332540dd032e167c2955d`
	vectorClientClose = `1703030013c9872760655666b74d7ff1153efd6db6d0b0e3`
	vectorServerClose = `1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9`
)

func TestVectorsOfKeys(t *testing.T) {
	for _, c := range []struct{ name, secret, key, iv string }{
		{"client", vectorClient, "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"},
		{"server", vectorServer, "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"},
	} {
		k := withSecret(t, tls.TLS_AES_128_GCM_SHA256, unhex(t, c.secret))
		key, err := k.suite.expand(k.secret, "key", k.suite.keyLen)
		if err != nil || !bytes.Equal(key, unhex(t, c.key)) {
			t.Errorf("%s: key %x %v, want %s", c.name, key, err, c.key)
		}
		if !bytes.Equal(k.iv[:], unhex(t, c.iv)) {
			t.Errorf("%s: IV %x, want %s", c.name, k.iv, c.iv)
		}
	}
}

// fifty is the payload of both sides.
func fifty() []byte {
	b := make([]byte, 50)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestVectorsOfRecords(t *testing.T) {
	for _, c := range []struct {
		name, secret string
		first        uint64
		data, end    string
	}{
		{"client", vectorClient, 0, vectorClientData, vectorClientClose},
		{"server", vectorServer, 1, vectorServerData, vectorServerClose}, // number 0 is the ticket
	} {
		o := &Out{keys: withSecret(t, tls.TLS_AES_128_GCM_SHA256, unhex(t, c.secret)), rekeyAfter: rekeyAfter}
		o.seq = c.first
		rec := make([]byte, 50+Overhead)
		copy(rec[HeaderLen:], fifty())
		n, err := o.Seal(rec, 50)
		if err != nil || !bytes.Equal(rec[:n], unhex(t, c.data)) {
			t.Errorf("%s seals\n%x (%v)\nnot\n%s", c.name, rec[:n], err, c.data)
		}
		if end := o.AppendEnd(nil, nil); !bytes.Equal(end, unhex(t, c.end)) {
			t.Errorf("%s ends by\n%x\nnot\n%s", c.name, end, c.end)
		}
	}
}

// The client's side of the trace: a ticket, which is thrown away, data, and the end.
func TestVectorsOpen(t *testing.T) {
	o := &Out{}
	i := &In{keys: withSecret(t, tls.TLS_AES_128_GCM_SHA256, unhex(t, vectorServer)), out: o, client: true, rekeyAfter: rekeyAfter}
	var got []byte
	buf := unhex(t, vectorTicket+vectorServerData+vectorServerClose)
	for {
		p, n, err := i.Open(buf)
		if err == io.EOF {
			break
		}
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		got, buf = append(got, p...), buf[n:]
	}
	if !bytes.Equal(got, fifty()) {
		t.Errorf("opened %x", got)
	}
	if err := i.Truncated(); err != nil {
		t.Error(err)
	}
}
