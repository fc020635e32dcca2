/** The alerts that are raised: how many, on the badge, and what they say, in its list. */
export class Alerts {
  #raised = new Map();
  /** The names that were told since the page is connected. */
  #told = new Set();

  constructor(byId, link) {
    this.byId = byId;
    byId('alerts').addEventListener('click', () => byId('alerts-dialog').showModal());
    byId('alerts-close').addEventListener('click', () => byId('alerts-dialog').close());
    this.#draw();
    link.subscribe('/topic/alerts', {}, ({ body }) => this.handle(body), () => {});
  }

  /** What changes is told from now on; what was raised before has to be asked for. */
  async handleConnected(client) {
    const told = (this.#told = new Set());
    const active = await raisedBefore(client.connectHeaders);
    if (this.#told !== told) return;
    for (const name of this.#raised.keys()) if (!told.has(name)) this.#raised.delete(name);
    for (const alert of active) if (!told.has(nameOf(alert))) this.#raised.set(nameOf(alert), alert);
    this.#draw();
  }

  /** One alert, raised or cleared. */
  handle(body) {
    let alert;
    try {
      alert = JSON.parse(body);
    } catch {
      return;
    }
    const name = nameOf(alert);
    const state = alert.metadata?.state ?? alert.metadata?.status ?? alert.state ?? alert.status;
    this.#told.add(name);
    if (state === 'cleared' || state === 'resolved') this.#raised.delete(name);
    else this.#raised.set(name, alert);
    this.#draw();
  }

  #draw() {
    const alerts = [...this.#raised.values()];
    this.byId('alert-count').textContent = String(alerts.length);
    this.byId('alerts').dataset.raised = String(alerts.length > 0);
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

function nameOf({ metadata, rule, source, message }) {
  return metadata?.rule ?? metadata?.name ?? rule ?? `${source} ${message}`;
}

/** With the page's own credentials; none where they are not enough for that. */
async function raisedBefore({ Authorization, login, passcode }) {
  try {
    const basic = () => `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(`${login}:${passcode}`)))}`;
    const authorization = Authorization ?? (login === undefined ? undefined : basic());
    const answer = await fetch('api/v1/alerts', { headers: authorization === undefined ? {} : { authorization } });
    return answer.ok ? (await answer.json()).active : [];
  } catch {
    return [];
  }
}
