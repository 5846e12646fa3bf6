// Package peer holds what the peers in Go share; what each path does is told in running.py.
package peer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// Subprotocol is the only one that is spoken.
const Subprotocol = "feed.v2"

// MaxBytes is the size of the largest message that is taken.
const MaxBytes = 16 * 1024 * 1024

// Text is sent in fragments that do not end where its characters do.
var Text = []byte(strings.Repeat("žluťoučký kůň ", 1000))

// Binary is sent in fragments.
var Binary = []byte(strings.Repeat("\xff", 10000))

// Fragment is the size of a fragment.
const Fragment = 1001

// Hello is what a peer knows of the handshake.
func Hello(request *http.Request, subprotocol string) []byte {
	offered := strings.Join(request.Header.Values("Sec-WebSocket-Extensions"), ", ")
	text, err := json.Marshal(map[string]string{"subprotocol": subprotocol, "offered": offered})
	if err != nil {
		panic(err)
	}
	return text
}

// Ended tells with which code a connection has ended.
func Ended(path string, code int) {
	fmt.Printf("{\"path\": %q, \"code\": %d}\n", path, code)
}

// Serve listens on the port that the command line names.
func Serve(handler http.HandlerFunc) {
	err := http.ListenAndServe("127.0.0.1:"+os.Args[1], handler)
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
