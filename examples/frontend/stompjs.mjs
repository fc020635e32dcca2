import { Client } from '@stomp/stompjs';

const client = new Client({
  brokerURL: 'ws://localhost:8080/ws',
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
  },
  onStompError: (frame) => console.error(frame.headers.message, frame.body),
});

client.activate();
