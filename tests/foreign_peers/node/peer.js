// A peer on ws; what each path does is told in running.py. Usage: node peer.js PORT
"use strict";

const { WebSocketServer } = require("ws");

const SUBPROTOCOL = "feed.v2";
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: true,
  handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
});

function sendInFragments(socket, data, size, binary) {
  for (let start = 0; start < data.length; start += size) {
    socket.send(data.subarray(start, start + size), { binary, fin: start + size >= data.length });
  }
}

server.on("connection", (socket, request) => {
  const url = new URL(request.url, "ws://localhost");
  socket.on("message", (data, binary) => {
    socket.pause();
    socket.send(data, { binary }, () => socket.resume());
  });
  socket.on("pong", (payload) => socket.send("pong: " + payload));
  socket.on("close", (code) => console.log(JSON.stringify({ path: url.pathname, code })));
  switch (url.pathname) {
    case "/hello": {
      const offered = request.headers["sec-websocket-extensions"] ?? "";
      socket.send(JSON.stringify({ subprotocol: socket.protocol, offered }));
      break;
    }
    case "/ping":
      socket.ping("are you there");
      break;
    case "/fragments":
      sendInFragments(socket, Buffer.from("žluťoučký kůň ".repeat(1000)), 1001, false);
      sendInFragments(socket, Buffer.alloc(10000, 0xff), 1001, true);
      break;
    case "/close":
      socket.send("last");
      socket.close(Number(url.searchParams.get("code")), url.searchParams.get("reason"));
      break;
  }
});
