const socket = new WebSocket('ws://localhost:8080/ws/logs', ['api_key', 'YOUR-KEY']);

socket.onopen = () => {
  socket.send(JSON.stringify({ action: 'subscribe', filter: { level: ['error', 'warn'], source: 'license-server' } }));
  // A client that says nothing for five minutes is closed.
  setInterval(() => socket.send(JSON.stringify({ action: 'ping' })), 60_000);
};

socket.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === 'log') console.log(`${event.level}: ${event.message}`);
  if (event.type === 'error') console.error(`${event.code}: ${event.message}`);
};
