/** The alerts that are raised: how many, on the badge, and what they say, in its list. */
export class Alerts {
  #raised = new Map();

  constructor(byId) {
    this.byId = byId;
    byId('alerts').addEventListener('click', () => byId('alerts-dialog').showModal());
    byId('alerts-close').addEventListener('click', () => byId('alerts-dialog').close());
    this.#draw();
  }

  handleConnected(client) {
    client.subscribe('/topic/alerts', (message) => {
      if (message.headers.status === undefined) this.handle(message.body);
    });
  }

  /** One alert, raised or cleared. */
  handle(body) {
    let alert;
    try {
      alert = JSON.parse(body);
    } catch {
      return;
    }
    const { metadata = {} } = alert;
    const name = metadata.rule ?? metadata.name ?? alert.rule ?? `${alert.source} ${alert.message}`;
    const state = metadata.state ?? metadata.status ?? alert.state ?? alert.status;
    if (state === 'cleared' || state === 'resolved') this.#raised.delete(name);
    else this.#raised.set(name, alert);
    this.#draw();
  }

  #draw() {
    const alerts = [...this.#raised.values()];
    this.byId('alert-count').textContent = String(alerts.length);
    this.byId('alerts').dataset.raised = String(alerts.length > 0);
    this.byId('alerts').ariaLabel = alerts.length === 1 ? '1 alert' : `${alerts.length} alerts`;
    this.byId('alerts-empty').hidden = alerts.length > 0;
    const items = alerts.map((alert) => {
      const item = document.createElement('li');
      item.dataset.severity = alert.severity ?? '';
      item.textContent = `${alert.timestamp ?? ''} ${alert.severity ?? ''}: ${alert.message ?? ''}`;
      return item;
    });
    this.byId('alert-list').replaceChildren(...items.reverse());
  }
}
