import { Client } from '@stomp/stompjs';

const client = new Client({
  brokerURL: 'ws://localhost:8080/ws',
  reconnectDelay: 3000,
  heartbeatIncoming: 4000,
  heartbeatOutgoing: 4000,
  onConnect: () => {
    client.subscribe('/topic/metrics', (message) => {
      const { summary } = JSON.parse(message.body);
      console.log(`${summary.totalEvents} events, ${summary.eventsPerSecond} per second`);
    });
    // The numbers at once; without it they come with the next second.
    client.publish({ destination: '/app/subscribe' });
  },
  onStompError: (frame) => console.error(frame.headers.message, frame.body),
});

client.activate();
