import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogRing, lineOf, matcher } from '../src/log-ring.js';

const line = (n, level = 'info', source = 's') => ({ level, source, message: `line ${n}` });

test('the newest lines are kept at the limit, and one past it the oldest gives way', () => {
  const ring = new LogRing(3);
  assert.equal(ring.push([line(1), line(2), line(3)]), 0);
  assert.equal(ring.push([line(4)]), 1);
  assert.deepEqual(ring.shown.map(({ message }) => message), ['line 2', 'line 3', 'line 4']);
  assert.equal(ring.lost, 1);
});

test('a filter shows what it names of the lines that are there and that come', () => {
  const ring = new LogRing(10);
  ring.push([line(1, 'error'), line(2, 'warning'), line(3, 'error', 'x')]);
  ring.filter({ level: 'error', source: 's' });
  ring.push([line(4, 'error'), line(5)]);
  assert.deepEqual(ring.shown.map(({ message }) => message), ['line 1', 'line 4']);
  ring.filter({ level: 'warn' });
  assert.equal(ring.shown.length, 1);
  assert.throws(() => ring.filter({ pattern: '/(/' }));
  assert.equal(ring.shown.length, 1);
  ring.filter({});
  assert.equal(ring.shown.length, 5);
});

test('a pattern is a part of the text or an expression', () => {
  assert.ok(matcher('a/b')('xa/by') && !matcher('A')('a'));
  assert.ok(matcher('/^A.c$/i')('abc') && !matcher('/^A.c$/')('abc'));
});

test('whatever a body is, it is a line', () => {
  assert.equal(lineOf('not json').message, 'not json');
  assert.equal(lineOf('5').message, '5');
  assert.deepEqual(lineOf('{"level":"WARN","message":null,"metadata":{"a":1}}', new Date(0)), {
    timestamp: '1970-01-01T00:00:00.000Z', level: 'warn', source: '', message: '', metadata: '{"a":1}',
  });
});
