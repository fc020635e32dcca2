import assert from 'node:assert/strict';
import { test } from 'node:test';
import { integer, milliseconds, percent, rate, short, timeOfDay } from '../src/format.js';
import { parseHeaders } from '../src/headers.js';
import { Ring } from '../src/ring.js';

test('header lines are names and values, blank lines ignored', () => {
  assert.deepEqual(parseHeaders('content-type: text/plain\n\n x:a:b \n'), { 'content-type': 'text/plain', x: 'a:b' });
  assert.deepEqual(parseHeaders(''), {});
});

test('first of a repeated header counts', () => {
  assert.deepEqual(parseHeaders('a:1\na:2'), { a: '1' });
});

test('line that is no header is named', () => {
  assert.throws(() => parseHeaders('a:1\nnonsense'), { message: 'Header line 2 is not "name: value"' });
  assert.throws(() => parseHeaders(': value'), { message: 'Header line 1 is not "name: value"' });
});

test('ring keeps the newest samples at its capacity', () => {
  const ring = new Ring(2, 3, 1);
  for (let time = 1; time <= 3; time++) ring.push([time, time * 10]);
  assert.deepEqual(ring.columns, [[1, 2, 3], [10, 20, 30]]);
  ring.push([4, 40]);
  assert.deepEqual(ring.columns, [[2, 3, 4], [20, 30, 40]]);
});

test('sample that comes too soon takes the place of the one before', () => {
  const ring = new Ring(2, 3, 0.5);
  for (const sample of [[1, 10], [1.4, 14], [1.9, 19]]) ring.push(sample);
  assert.deepEqual(ring.columns, [[1, 1.9], [14, 19]]);
});

test('samples that all come too soon still move on', () => {
  const ring = new Ring(2, 10, 0.5);
  for (let tenths = 0; tenths <= 12; tenths++) ring.push([tenths / 10, tenths]);
  assert.deepEqual(ring.columns, [[0, 0.5, 1], [4, 9, 12]]);
});

test('clock that was set back does not hold up the ring', () => {
  const ring = new Ring(2, 10, 0.5);
  for (const time of [100, 101, 102, 50, 51]) ring.push([time, time]);
  assert.deepEqual(ring.columns, [[50, 51], [50, 51]]);
  ring.push([50.9, 7]);
  assert.deepEqual(ring.columns, [[50, 50.9], [50, 7]]);
});

test('line is broken where samples are missing', () => {
  const ring = new Ring(3, 10, 0.5, 3);
  for (const time of [1, 4, 10, 11]) ring.push([time, time, time]);
  assert.deepEqual(ring.columns, [[1, 4, 7, 10, 11], [1, 4, null, 10, 11], [1, 4, null, 10, 11]]);
});

test('numbers are written with their units', () => {
  assert.equal(integer(15000), '15,000');
  assert.equal(short(9999), '9,999');
  assert.equal(short(15000), '15K');
  assert.equal(rate(25.34), '25.3');
  assert.equal(rate(12345), '12.3K');
  assert.equal(milliseconds(999.94), '999.9 ms');
  assert.equal(milliseconds(1500), '1.5 s');
  assert.equal(percent(0), '0.0 %');
  assert.equal(percent(0.01), '<0.1 %');
  assert.equal(percent(2.14), '2.1 %');
});

test('time that is none is empty', () => {
  assert.equal(timeOfDay('yesterday'), '');
  assert.match(timeOfDay('2026-01-12T14:23:15.789Z'), /^\d\d:\d\d:\d\d$/);
});
