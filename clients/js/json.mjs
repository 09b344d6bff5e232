/**
 * JSON whose numbers keep all their digits. The hub hands numbers on as their producer wrote them; a
 * JavaScript number rounds from 2^53 on. Here such a number becomes a `bigint` if it is written as an
 * integer, and an `ExactNumber` otherwise; all others stay plain numbers. Both are written back unchanged.
 */

/** A number that neither a JavaScript number nor a `bigint` holds: `0.10000000000000000001`, `1e400`. */
export class ExactNumber {
  /** As it is written. */
  text;

  constructor(text) {
    if (!NUMBER.test(text)) throw new TypeError(`${JSON.stringify(text)} is not a JSON number`);
    this.text = text;
  }

  toString() {
    return this.text;
  }

  /** Rounded, for arithmetic that can live with it. */
  valueOf() {
    return Number(this.text);
  }

  /** For a plain `JSON.stringify`, which would otherwise write an object. */
  toJSON() {
    return this.text;
  }
}

/** `JSON.parse`, exact. */
export function parseExact(text) {
  let mark;
  const marked = text.replace(TOKENS, (token) => {
    if (token[0] === '"' || isExact(token)) return token;
    // Of its own for each text, so that no string in it can be taken for a number.
    mark ??= unusedIn(text);
    return `"${mark}${token}"`;
  });
  if (!mark) return JSON.parse(text);
  return JSON.parse(marked, (_, value) => {
    if (typeof value !== 'string' || !value.startsWith(mark)) return value;
    const digits = value.slice(mark.length);
    return INTEGER.test(digits) ? BigInt(digits) : new ExactNumber(digits);
  });
}

/** `JSON.stringify` that also writes what `parseExact` reads. */
export function stringifyExact(value) {
  const numbers = [];
  const mark = `${Math.random()}:`;
  const text = JSON.stringify(value, function (key, plain) {
    // `toJSON` has been called on `plain` already.
    const original = this[key];
    if (typeof original !== 'bigint' && !(original instanceof ExactNumber)) return plain;
    return mark + (numbers.push(String(original)) - 1);
  });
  if (numbers.length === 0) return text;
  return text.replace(TOKENS, (token) => {
    const index = token.startsWith(`"${mark}`) ? Number(token.slice(mark.length + 1, -1)) : NaN;
    return numbers[index] ?? token;
  });
}

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const INTEGER = /^-?\d+$/;
/** The strings and the numbers of a JSON text. */
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Whether a JavaScript number stands for the same value. */
function isExact(token) {
  if (token.length < 16 && INTEGER.test(token)) return true;
  const number = Number(token);
  return Number.isFinite(number) && significant(token) === significant(String(number));
}

/** The digits that count, and where the point stands: the same for `1.50`, `15e-1` and `1.5`. */
function significant(token) {
  const [, sign, whole, fraction = '', exponent = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(token);
  const digits = (whole + fraction).replace(/^0+/, '');
  const trimmed = digits.replace(/0+$/, '');
  if (trimmed === '') return '0';
  return `${sign}${trimmed}e${Number(exponent) - fraction.length + digits.length - trimmed.length}`;
}

function unusedIn(text) {
  for (let n = 0; ; n++) {
    const mark = `exact number ${n}:`;
    if (!text.includes(mark)) return mark;
  }
}
