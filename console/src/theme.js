/** Light or dark: what the system prefers, until the person chooses; the choice is kept. */

const KEY = 'stompbox-theme';
const system = window.matchMedia('(prefers-color-scheme: dark)');

/**
 * @param {HTMLButtonElement} button
 * @param {() => void} onChange after the colours changed
 */
export function installTheme(button, onChange) {
  let chosen = read();
  const dark = () => (chosen === null ? system.matches : chosen === 'dark');
  const apply = () => {
    if (chosen === null) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    button.textContent = dark() ? 'Light' : 'Dark';
    button.setAttribute('aria-label', `${button.textContent} colours`);
    onChange();
  };
  button.addEventListener('click', () => {
    chosen = dark() ? 'light' : 'dark';
    write(chosen);
    apply();
  });
  system.addEventListener('change', apply);
  apply();
}

// Storage is refused in some private windows; the theme then lasts as long as the page.
function read() {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : null;
  } catch {
    return null;
  }
}

function write(value) {
  try {
    localStorage.setItem(KEY, value);
  } catch {
    /* see read */
  }
}
