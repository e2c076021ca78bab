package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

func TestConversation(t *testing.T) {
	client, server := net.Pipe()
	go serve(server)
	defer client.Close()
	r := bufio.NewReader(client)
	for _, c := range []struct{ say, want string }{
		{"", "220 payments ready"},
		{"CHARGE 100 4929", "250 charged 100, receipt"},
		{"CHARGE -1 4929", "501 amount"},
		{"HELLO", "500 say"},
		{"quit", "221 bye"},
	} {
		if c.say != "" {
			fmt.Fprintf(client, "%s\r\n", c.say)
		}
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, c.want) {
			t.Fatalf("said %q, heard %q (%v), want %q", c.say, line, err, c.want)
		}
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection is still open after QUIT")
	}
}
