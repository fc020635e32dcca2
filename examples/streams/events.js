const events = new EventSource('http://localhost:8080/stream/logs?level=error,warn&api_key=YOUR-KEY');

// Every line, whatever its level.
events.onmessage = ({ data }) => console.log('line', JSON.parse(data).message);

// Or by level.
events.addEventListener('error_log', ({ data }) => console.log('error', JSON.parse(data).message));
events.addEventListener('warning_log', ({ data }) => console.log('warning', JSON.parse(data).message));

// What was written while the connection was away comes when it is back; what is not kept any more is told.
events.addEventListener('gap', ({ data }) => console.log('gap', JSON.parse(data).reason));
