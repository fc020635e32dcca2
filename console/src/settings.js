/** What the broker wrote into the page; where Vite serves it, nothing is written, and the defaults hold. */
const written = document.querySelector('meta[name=stompbox-settings]').content;

/** @type {{ mount: string, metrics: string | null, periodMs: number }} `metrics`: null where there is no such feed */
export const settings = { mount: '/ws', metrics: '/topic/metrics', periodMs: 1_000, ...(written && JSON.parse(written)) };

/** Where SockJS is mounted, seen from the page: a proxy may have put both below a path of its own. */
export function mountUrl() {
  return new URL(settings.mount.slice(1), document.baseURI);
}
