// The `ws` library as a server of the fan-out bench: `node ws.mjs TOPICS PAYLOAD`. It says where it
// listens on its first line; then each byte of its input is a publication, the topics take turns.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const topics = Number(process.argv[2]);
const payload = readFileSync(process.argv[3]);
const subscribers = Array.from({ length: topics }, () => new Set());

const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false });
server.on('connection', (socket, request) => {
  const topic = subscribers[Number(request.url.slice(1))];
  topic.add(socket);
  socket.on('close', () => topic.delete(socket));
});

let turn = 0;
process.stdin.on('data', (orders) => {
  for (let order = 0; order < orders.length; order += 1) {
    for (const socket of subscribers[turn % topics]) socket.send(payload, { binary: false });
    turn += 1;
  }
});
process.stdin.on('end', () => process.exit(0));

http.listen(0, '127.0.0.1', 4096, () => {
  const paths = subscribers.map((_, topic) => `/${topic}`);
  const address = `127.0.0.1:${http.address().port}`;
  console.log(JSON.stringify({ address, authorization: null, paths }));
});
