import './theme.css';
import './style.css';
import './forms.css';
import './logs.css';
import { Alerts } from './alerts.js';
import { Link, TRANSPORTS } from './link.js';
import { Logs } from './logs.js';
import { Overview } from './overview.js';
import { settings as broker } from './settings.js';
import { StompConsole } from './stomp-console.js';
import { installTabs } from './tabs.js';
import { installTheme } from './theme.js';

const byId = (id) => document.getElementById(id);

const overview = new Overview();
installTheme(byId('theme'), () => overview.recolour());

const link = new Link({ state: showState, error: showError, connected: (client) => alerts.handleConnected(client) });
new StompConsole(link);
const logs = new Logs(byId, link);
const alerts = new Alerts(byId, link);
installTabs(byId('tabs'), (name) => name === 'logs' && logs.handleShown());
installSkipLink();

const settings = { transport: transportOfPage(), token: '', login: '', passcode: '' };
installAlert();
installConnectionDialog();
if (broker.metrics === null) overview.explain('This broker publishes no metrics: metrics.enabled is false in its settings.');
// `latest`: a screen wants the newest numbers, not all of them.
else link.subscribe(broker.metrics, { overflow: 'latest' }, handleMetrics, handleMetricsRefused);
link.open(settings);

function handleMetrics(message) {
  try {
    overview.show(JSON.parse(message.body));
  } catch (error) {
    showError('The metrics could not be read', error.message);
  }
}

function handleMetricsRefused(reason) {
  overview.explain(`The metrics are refused: ${reason}`);
}

function showState(state, transport) {
  // What it said was about the connection that is no more.
  if (state === 'connected') hideError();
  byId('state-dot').dataset.state = state;
  byId('connection-state').textContent = state;
  byId('transport').textContent = transport;
}

function showError(title, text) {
  byId('alert-title').textContent = title;
  byId('alert-text').textContent = text === title ? '' : text;
  byId('alert').hidden = false;
}

function hideError() {
  byId('alert').hidden = true;
}

/** To the panel that is shown; the address keeps the name of the tab. */
function installSkipLink() {
  byId('skip').addEventListener('click', (event) => {
    event.preventDefault();
    const panel = document.querySelector('[role=tabpanel]:not([hidden])');
    panel.focus();
    panel.scrollIntoView();
  });
}

function installAlert() {
  byId('alert-close').addEventListener('click', hideError);
}

function installConnectionDialog() {
  const dialog = byId('connection-dialog');
  byId('open-connection').addEventListener('click', () => {
    byId('connection-transport').value = settings.transport;
    dialog.showModal();
  });
  byId('connection-cancel').addEventListener('click', () => dialog.close());
  byId('connection-form').addEventListener('submit', () => {
    settings.transport = byId('connection-transport').value;
    settings.token = byId('connection-token').value.trim();
    settings.login = byId('connection-login').value.trim();
    settings.passcode = byId('connection-passcode').value;
    keepTransportInPage(settings.transport);
    hideError();
    link.open(settings);
  });
}

function transportOfPage() {
  const wanted = new URLSearchParams(location.search).get('transport') ?? '';
  return TRANSPORTS.includes(wanted) ? wanted : '';
}

function keepTransportInPage(transport) {
  const url = new URL(location.href);
  if (transport === '') url.searchParams.delete('transport');
  else url.searchParams.set('transport', transport);
  history.replaceState(null, '', url);
}
