// A peer on gorilla/websocket. Usage: gorilla PORT
package main

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/websocket"

	"websocket-manager/peers/peer"
)

const patience = 20 * time.Second

func main() {
	peer.Serve(serve)
}

func serve(writer http.ResponseWriter, request *http.Request) {
	upgrader := websocket.Upgrader{Subprotocols: []string{peer.Subprotocol}, EnableCompression: true}
	if request.URL.Path == "/fragments" {
		upgrader.WriteBufferSize = peer.Fragment // a longer message leaves in fragments of this size
	}
	conn, err := upgrader.Upgrade(writer, request, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetReadLimit(peer.MaxBytes)
	conn.SetPongHandler(func(payload string) error {
		return conn.WriteMessage(websocket.TextMessage, []byte("pong: "+payload))
	})
	err = greet(conn, request)
	for err == nil {
		err = echo(conn)
	}
	code := websocket.CloseAbnormalClosure
	var closed *websocket.CloseError
	if errors.As(err, &closed) {
		code = closed.Code
	}
	peer.Ended(request.URL.Path, code)
}

func greet(conn *websocket.Conn, request *http.Request) error {
	query := request.URL.Query()
	switch request.URL.Path {
	case "/hello":
		return conn.WriteMessage(websocket.TextMessage, peer.Hello(request, conn.Subprotocol()))
	case "/ping":
		return conn.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(patience))
	case "/fragments":
		return errors.Join(write(conn, websocket.TextMessage, peer.Text), write(conn, websocket.BinaryMessage, peer.Binary))
	case "/close":
		code, err := strconv.Atoi(query.Get("code"))
		frame := websocket.FormatCloseMessage(code, query.Get("reason"))
		return errors.Join(
			err,
			conn.WriteMessage(websocket.TextMessage, []byte("last")),
			conn.WriteControl(websocket.CloseMessage, frame, time.Now().Add(patience)),
		)
	}
	return nil
}

// write goes through a writer: WriteMessage would send one frame, whatever the size of the buffer.
func write(conn *websocket.Conn, kind int, data []byte) error {
	message, err := conn.NextWriter(kind)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		part := data[:min(peer.Fragment, len(data))]
		data = data[len(part):]
		if _, err := message.Write(part); err != nil {
			return err
		}
	}
	return message.Close()
}

func echo(conn *websocket.Conn) error {
	kind, data, err := conn.ReadMessage()
	if err != nil {
		return err
	}
	return conn.WriteMessage(kind, data)
}
