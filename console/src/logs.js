import { Virtualizer, elementScroll, observeElementOffset, observeElementRect } from '@tanstack/virtual-core';
import { LogRing, lineOf } from './log-ring.js';

const KEPT_LINES = 10_000;
const LINE_PX = 24;
const FILTER_DELAY_MS = 150;

/**
 * The log lines, live. Only the lines in sight are in the document, and what comes between two frames is
 * drawn once, so that thousands of lines a second do not stop the page.
 */
export class Logs {
  #ring = new LogRing(KEPT_LINES);
  #waiting = [];
  #isPaused = false;
  #follows = true;
  #isScheduled = false;
  #dropped = 0;

  #refused = '';

  constructor(byId, link) {
    this.byId = byId;
    this.list = byId('log-list');
    this.rows = byId('log-rows');
    this.virtualizer = new Virtualizer(this.#options());
    this.virtualizer._didMount();
    this.virtualizer._willUpdate();
    this.#installControls();
    this.#draw();
    const refused = (reason) => {
      this.#refused = reason;
      this.#schedule();
    };
    link.subscribe('/topic/logs', { overflow: 'drop-oldest' }, (message) => this.#handle(message), refused);
  }

  /** The tab came into sight: it had no size before. */
  handleShown() {
    this.virtualizer._willUpdate();
    this.virtualizer.measure();
    this.#draw();
  }

  #handle(message) {
    this.#refused = '';
    this.#dropped += Number(message.headers.dropped ?? 0);
    this.#waiting.push(lineOf(message.body));
    // While paused, as many wait as would be kept.
    if (this.#waiting.length > KEPT_LINES) {
      this.#dropped += this.#waiting.length - KEPT_LINES;
      this.#waiting = this.#waiting.slice(-KEPT_LINES);
    }
    this.#schedule();
  }

  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      this.#draw();
    });
  }

  #draw() {
    if (!this.#isPaused && this.#waiting.length > 0) {
      const gone = this.#ring.push(this.#waiting);
      this.#waiting = [];
      this.#showSources();
      // Who reads further up goes on reading the same lines.
      if (!this.#follows && gone > 0) this.list.scrollTop = Math.max(0, this.list.scrollTop - gone * LINE_PX);
    }
    const count = this.#ring.shown.length;
    this.virtualizer.setOptions(this.#options());
    this.virtualizer._willUpdate();
    this.rows.style.height = `${this.virtualizer.getTotalSize()}px`;
    if (this.#follows) this.list.scrollTop = this.list.scrollHeight;
    this.rows.replaceChildren(...this.virtualizer.getVirtualItems().map((item) => this.#row(item)));
    this.byId('log-count').textContent = count === this.#ring.length ? String(count) : `${count} of ${this.#ring.length}`;
    this.byId('log-empty').hidden = count > 0;
    this.byId('log-newest').hidden = this.#follows;
    const told = this.#refused === '' ? [] : [`refused: ${this.#refused}`];
    if (this.#isPaused) told.push(`paused, ${this.#waiting.length} waiting`);
    if (this.#dropped > 0) told.push(`${this.#dropped} dropped`);
    this.byId('log-state').textContent = told.join(', ');
  }

  #row(item) {
    const line = this.#ring.shown[item.index];
    const row = document.createElement('li');
    row.className = 'log-line';
    row.dataset.level = line.level;
    row.style.transform = `translateY(${item.start}px)`;
    row.ariaSetSize = String(this.#ring.shown.length);
    row.ariaPosInSet = String(item.index + 1);
    const part = (name, text) => {
      const span = document.createElement('span');
      span.className = `log-${name}`;
      span.textContent = text;
      return span;
    };
    row.append(
      part('time', line.timestamp.slice(11, 23)),
      part('level', line.level),
      part('source', line.source),
      part('message', line.metadata === '' ? line.message : `${line.message}  ${line.metadata}`),
    );
    row.title = `${line.timestamp} ${line.message} ${line.metadata}`;
    return row;
  }

  #options() {
    return {
      count: this.#ring.shown.length,
      getScrollElement: () => this.list,
      estimateSize: () => LINE_PX,
      overscan: 10,
      scrollToFn: elementScroll,
      observeElementRect,
      observeElementOffset,
      onChange: () => this.#schedule(),
    };
  }

  #installControls() {
    let timer;
    const refilter = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#refilter(), FILTER_DELAY_MS);
    };
    this.byId('log-level').addEventListener('change', () => this.#refilter());
    this.byId('log-source').addEventListener('change', () => this.#refilter());
    this.byId('log-pattern').addEventListener('input', refilter);
    this.byId('log-pause').addEventListener('click', () => {
      this.#isPaused = !this.#isPaused;
      this.byId('log-pause').textContent = this.#isPaused ? 'Resume' : 'Pause';
      this.byId('log-pause').ariaPressed = String(this.#isPaused);
      this.#draw();
    });
    this.byId('log-clear').addEventListener('click', () => {
      this.#ring.clear();
      this.#dropped = 0;
      this.#draw();
    });
    this.byId('log-newest').addEventListener('click', () => {
      this.#follows = true;
      this.#draw();
    });
    // A person who scrolls up wants to read; back at the end, to follow. Following itself only scrolls down,
    // and a scroll is told before the next frame is drawn: nobody is taken back from where they went.
    let last = 0;
    const look = () => {
      const top = this.list.scrollTop;
      const isAtEnd = top + this.list.clientHeight >= this.list.scrollHeight - LINE_PX;
      const follows = isAtEnd || (this.#follows && top >= last);
      last = top;
      if (follows === this.#follows) return;
      this.#follows = follows;
      this.#schedule();
    };
    this.list.addEventListener('scroll', look, { passive: true });
  }

  #refilter() {
    const [level, source, pattern] = ['log-level', 'log-source', 'log-pattern'].map((id) => this.byId(id).value);
    const field = this.byId('log-pattern');
    try {
      this.#ring.filter({ level, source, pattern: pattern.trim() });
      field.setCustomValidity('');
    } catch (error) {
      field.setCustomValidity(error.message);
      field.reportValidity();
      return;
    }
    this.#draw();
  }

  #showSources() {
    const select = this.byId('log-source');
    const sources = this.#ring.sources();
    if (sources.length === select.options.length - 1 && sources.every((name, n) => select.options[n + 1].value === name)) return;
    const chosen = select.value;
    const options = sources.map((name) => new Option(name, name));
    select.replaceChildren(new Option('All sources', ''), ...options);
    select.value = sources.includes(chosen) ? chosen : '';
  }
}
