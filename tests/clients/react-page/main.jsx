import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { useMetrics } from '../../../examples/react/useMetrics.js';

const query = new URLSearchParams(location.search);

function Metrics() {
  const { metrics, state, error } = useMetrics(query.get('url'), { token: query.get('token') ?? undefined });
  return (
    <dl>
      <dd data-testid="state">{state}</dd>
      <dd data-testid="total">{metrics?.summary.totalEvents ?? 'none'}</dd>
      <dd data-testid="error">{error ?? 'none'}</dd>
    </dl>
  );
}

createRoot(document.getElementById('root')).render(
  <StrictMode>
    <Metrics />
  </StrictMode>,
);
