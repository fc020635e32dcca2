import { Client } from '@stomp/stompjs';
import SockJS from 'sockjs-client';

const client = new Client({
  // A new socket for each attempt: WebSocket where it works, else xhr-streaming, else xhr-polling.
  webSocketFactory: () => new SockJS('http://localhost:8080/ws'),
  connectHeaders: { Authorization: 'Bearer YOUR-TOKEN' },
  reconnectDelay: 3000,
  heartbeatIncoming: 4000,
  heartbeatOutgoing: 4000,
  onConnect: () => {
    client.subscribe('/topic/metrics', (message) => {
      // A soft refusal: one last message, whose text says why.
      if (message.headers.status) return console.error(message.body);
      const { summary } = JSON.parse(message.body);
      console.log(`${summary.totalEvents} events, ${summary.eventsPerSecond} per second`);
    });
    client.publish({
      destination: '/app/events',
      body: JSON.stringify({ eventType: 'page.view', source: 'web', userId: 'user_1', metadata: { latency: 12 } }),
    });
  },
  onStompError: (frame) => {
    console.error(frame.headers.message, frame.body);
    // The same credentials would be refused again. After every other ERROR the client connects again by itself.
    if (frame.headers.message === 'Access refused') client.deactivate();
  },
});

client.activate();
