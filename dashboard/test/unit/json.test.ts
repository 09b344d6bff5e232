import { describe, expect, test } from 'vitest';
import { parse, pretty, write } from '../../src/hub/json';

describe('JSON', () => {
  test('every number comes back with the digits that it came with', () => {
    for (const digits of ['4634343214213523454', '-9223372036854775808', '123456789012345678901234567890', '1e400', '1E5', '3e4', '30000.0', '0.1000000000000000055511151231257827', '-0', '-0.0', '0.5', '12', '9007199254740993', '1763790000000']) {
      for (const text of [digits, `[${digits}]`, `{"a":${digits},"b":[1,${digits},"x"]}`]) expect(write(parse(text))).toBe(text);
    }
  });

  test('is what JSON.parse makes of it wherever no digit is lost', () => {
    const text = String.raw`{"a": [1, 2.5, "1.0", "x\"y\\", {"__proto__": {"b": true}, "": null}], "c" : 1e2 , "d":[ ],"e":{ } }`;
    expect(JSON.parse(write(parse(text)))).toEqual(JSON.parse(text));
    const read = parse('{"__proto__":{"x":1},"n":1.0}') as Record<string, unknown>;
    expect(Object.keys(read)).toEqual(['__proto__', 'n']);
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  });

  test('survives the way from the worker to a page', () => {
    expect(write(structuredClone(parse('{"id":4634343214213523454}')))).toBe('{"id":4634343214213523454}');
  });

  test('is laid out as JSON.stringify does it', () => {
    for (const value of [{ a: [1, { b: [] }], c: {}, d: undefined, e: null }, [], 'text', 7, null, [[[]]]]) expect(pretty(value)).toBe(JSON.stringify(value, null, 2));
  });

  test('what cannot be seen stands escaped', () => {
    expect(write({ a: '\u202etxt\u0007\u009b\u2028' })).toBe(String.raw`{"a":"\u202etxt\u0007\u009b\u2028"}`);
  });

  test('what is no JSON is refused', () => {
    for (const text of ['', '{', '[1.0,]', '{"a":1.0', '01', '1.', 'NaN']) expect(() => parse(text), text).toThrow(SyntaxError);
  });
});
