import { useEffect, useState } from 'react';
import { Client } from '@stomp/stompjs';
import SockJS from 'sockjs-client';

/**
 * The broker's metrics, live.
 *
 * @param {string} url for example `http://localhost:8080/ws`
 * @param {{ token?: string }} [options]
 * @returns {{ metrics: object | null, state: 'connecting' | 'connected' | 'reconnecting' | 'refused', error: string | null }}
 */
export function useMetrics(url, { token } = {}) {
  const [metrics, setMetrics] = useState(null);
  const [state, setState] = useState('connecting');
  const [error, setError] = useState(null);

  useEffect(() => {
    let mounted = true;
    const client = new Client({
      webSocketFactory: () => new SockJS(url),
      connectHeaders: token ? { Authorization: `Bearer ${token}` } : {},
      reconnectDelay: 3000,
      heartbeatIncoming: 4000,
      heartbeatOutgoing: 4000,
      onConnect: () => {
        setState('connected');
        setError(null);
        client.subscribe('/topic/metrics', ({ headers, body }) => {
          // A soft refusal: one last message, whose text says why.
          if (headers.status) setError(body);
          else setMetrics(JSON.parse(body));
        });
      },
      onStompError: ({ headers }) => {
        setError(headers.message);
        if (headers.message === 'Access refused') {
          // The same token would be refused again.
          mounted = false;
          setState('refused');
          client.deactivate();
        }
      },
      onWebSocketClose: () => mounted && setState('reconnecting'),
    });
    client.activate();
    return () => {
      mounted = false;
      client.deactivate();
    };
  }, [url, token]);

  return { metrics, state, error };
}
