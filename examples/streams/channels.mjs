const socket = new WebSocket('ws://localhost:8080/ws/channels');
const say = (message) => socket.send(JSON.stringify(message));

socket.onopen = () => {
  say({ action: 'subscribe', channel: 'notifications' });
  say({ type: 'query', id: 1, payload: { query: 'metrics' } });
};

socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.channel === 'system') {
    console.log(message.data.type);
    if (message.data.type === 'subscription_confirm') {
      say({ action: 'publish', channel: message.data.channel, data: { text: 'Hello' } });
    }
  } else if (message.type === 'response') {
    console.log(`answer ${message.requestId}: ${message.payload.summary.totalEvents} events`);
  } else {
    console.log(`${message.channel}: ${message.data.text}`);
  }
};
