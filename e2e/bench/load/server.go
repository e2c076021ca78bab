package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

// serve answers every request after reading its body: as many bytes as the path says (/1024), else none.
func serve(o options) (result, error) {
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		return result{}, err
	}
	fmt.Fprintln(os.Stderr, "serving on", l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return result{}, err
		}
		go answer(c)
	}
}

func answer(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 2048)
	head := make([]byte, 0, 128)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		want := wanted(line)
		length, closing, err := readHeader(r)
		if err != nil {
			return
		}
		if length > 0 {
			if err := verify(c, r, length); err != nil {
				fmt.Fprintln(os.Stderr, "from", c.RemoteAddr(), err)
				return
			}
		}
		head = append(head[:0], "HTTP/1.1 200 OK\r\nContent-Length: "...)
		head = strconv.AppendInt(head, want, 10)
		head = append(head, "\r\n\r\n"...)
		first := min(want, 4096)
		head = append(head, pattern(0, first)...)
		if _, err := c.Write(head); err != nil {
			return
		}
		if err := fill(c, first, want-first); err != nil {
			return
		}
		if closing {
			return
		}
	}
}

// wanted reads the response size from "POST /1024 HTTP/1.1".
func wanted(line []byte) int64 {
	f := bytes.Fields(line)
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimPrefix(string(f[1]), "/"), 10, 64)
	return n
}

// readHeader reads up to the empty line and returns the body's length and whether the peer closes after it.
func readHeader(r *bufio.Reader) (length int64, closing bool, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			return length, closing, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return 0, false, err
			}
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			return 0, false, io.ErrUnexpectedEOF // fixed lengths only
		case bytes.EqualFold(name, []byte("connection")):
			closing = bytes.EqualFold(value, []byte("close"))
		}
	}
}
