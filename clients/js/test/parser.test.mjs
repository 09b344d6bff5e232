import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SseParser } from '../index.mjs';

const bytes = (text) => new TextEncoder().encode(text);

function parse(text, ...cuts) {
  const input = typeof text === 'string' ? bytes(text) : text;
  const parser = new SseParser();
  const ends = [...cuts, input.length];
  const frames = ends.flatMap((end, i) => parser.push(input.subarray(i === 0 ? 0 : ends[i - 1], end)));
  return { frames, lastEventId: parser.lastEventId, retryMs: parser.retryMs };
}

const EVERYTHING =
  '\uFEFF: comment\r\nid: 1\r\nevent: grüße\r\ndata: {"emoji":"🎓"}\r\n\r\n' +
  'data: one\rdata:two\rdata:  three\r\r' +
  'retry: 250\nid: 2\n\n' +
  'data\n\n' +
  'id: bad\0id\ndata: kept id\n\n' +
  'retry: soon\nunknown: field\nid\ndata: no id\n\nid: 9\ndata: unfinished\n';

const EXPECTED = {
  frames: [
    { event: 'grüße', data: '{"emoji":"🎓"}', id: '1' },
    { event: 'message', data: 'one\ntwo\n three', id: '1' },
    { event: 'message', data: '', id: '2' },
    { event: 'message', data: 'kept id', id: '2' },
    { event: 'message', data: 'no id', id: '' },
  ],
  lastEventId: '',
  retryMs: 250,
};

test('reads every field, line end and oddity of the standard', () => {
  assert.deepEqual(parse(EVERYTHING), EXPECTED);
});

test('reads the same wherever the bytes are cut', () => {
  const input = bytes(EVERYTHING);
  for (let first = 0; first <= input.length; first++) {
    assert.deepEqual(parse(input, first), EXPECTED, `cut at ${first}`);
    for (let second = first; second <= input.length; second += 7) {
      assert.deepEqual(parse(input, first, second), EXPECTED, `cut at ${first} and ${second}`);
    }
  }
  assert.deepEqual(parse(input, ...input.keys()), EXPECTED, 'byte by byte');
});

test('gives a frame as soon as it is finished, also by a CR that an LF may follow', () => {
  const parser = new SseParser();
  assert.equal(parser.push(bytes('data: a\r\r')).length, 1);
  assert.equal(parser.push(bytes('\ndata: b\r\n\r')).length, 1);
  assert.deepEqual(parser.push(bytes('\n')), []);
});

test('an id without data moves the place, an unfinished one does not', () => {
  const parser = new SseParser('7');
  assert.equal(parser.lastEventId, '7');
  assert.deepEqual(parser.push(bytes('id: 8\n\n')), []);
  assert.equal(parser.lastEventId, '8');
  parser.push(bytes('id: 9\ndata: x'));
  assert.equal(parser.lastEventId, '8');
});

test('only one leading byte order mark is dropped', () => {
  assert.deepEqual(parse('\uFEFF\uFEFFdata: x\n\ndata: y\n\n').frames, [{ event: 'message', data: 'y', id: '' }]);
});
