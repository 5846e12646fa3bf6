// A peer on coder/websocket. Usage: coder PORT
package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/coder/websocket"

	"websocket-manager/peers/peer"
)

func main() {
	peer.Serve(serve)
}

func serve(writer http.ResponseWriter, request *http.Request) {
	conn, err := websocket.Accept(writer, request, &websocket.AcceptOptions{
		Subprotocols:    []string{peer.Subprotocol},
		CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(peer.MaxBytes)
	err = greet(conn, request)
	for err == nil {
		err = echo(conn)
	}
	code := 1006
	var closed websocket.CloseError
	if errors.As(err, &closed) {
		code = int(closed.Code)
	}
	peer.Ended(request.URL.Path, code)
}

func greet(conn *websocket.Conn, request *http.Request) error {
	ctx, query := context.Background(), request.URL.Query()
	switch request.URL.Path {
	case "/hello":
		return conn.Write(ctx, websocket.MessageText, peer.Hello(request, conn.Subprotocol()))
	case "/ping":
		go ping(conn) // it waits for the pong, which is read by the echo
	case "/fragments":
		return errors.Join(write(conn, websocket.MessageText, peer.Text), write(conn, websocket.MessageBinary, peer.Binary))
	case "/close":
		code, err := strconv.Atoi(query.Get("code"))
		return errors.Join(
			err,
			conn.Write(ctx, websocket.MessageText, []byte("last")),
			conn.Close(websocket.StatusCode(code), query.Get("reason")),
		)
	}
	return nil
}

// ping has no payload of its own: the library chooses it.
func ping(conn *websocket.Conn) {
	if conn.Ping(context.Background()) == nil {
		conn.Write(context.Background(), websocket.MessageText, []byte("pong: are you there"))
	}
}

// write sends each part as a frame.
func write(conn *websocket.Conn, kind websocket.MessageType, data []byte) error {
	message, err := conn.Writer(context.Background(), kind)
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
	kind, data, err := conn.Read(context.Background())
	if err != nil {
		return err
	}
	return conn.Write(context.Background(), kind, data)
}
