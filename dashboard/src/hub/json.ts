// JSON as it stands in the log. JSON.parse turns every number into a double, which keeps 15 digits or so: an id of 64
// bits would come out as another id. Here such a number keeps the digits that it was written with.

/** A number that a double can't hold as it was written. A boxed string, because that survives the way from the worker to a page. */
export type Digits = String;

/** Reads any JSON; throws a SyntaxError where it is none. */
export function parse(text: string): unknown {
  const value: unknown = JSON.parse(text);
  return UNSAFE.test(text) ? new Reader(text).value() : value;
}

/** Writes it as it was read, in a form that can be seen. */
export function write(value: unknown, indent = '', line = '\n'): string {
  if (value instanceof String) return String(value);
  if (typeof value === 'string') return visible(JSON.stringify(value));
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const inner = indent && line + indent;
  const parts: string[] = [];
  // Loops, not callbacks: a deep value then takes one frame of the stack for each level.
  if (Array.isArray(value)) for (const item of value) parts.push(inner + write(item, indent, inner));
  else {
    for (const [name, member] of Object.entries(value)) {
      if (member !== undefined) parts.push(`${inner}${write(name)}:${indent && ' '}${write(member, indent, inner)}`);
    }
  }
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return parts.length === 0 ? open! + close! : `${open}${parts.join(',')}${indent && line}${close}`;
}

/** What has no form of its own on a screen (controls, marks that turn the direction of writing) stands escaped. */
export const visible = (text: string) => text.replace(UNSEEN, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

export const pretty = (value: unknown) => write(value, '  ');

/** Reads a text that JSON.parse has found to be good. */
class Reader {
  #at = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  value(): unknown {
    const first = this.#peek();
    if (first === '"') return this.#string();
    if (first === '[') return this.#members(']', [] as unknown[], (list) => list.push(this.value()));
    if (first === '{') {
      return this.#members('}', {}, (object) => {
        const name = this.#string();
        this.#peek();
        this.#at += 1;
        // As JSON.parse does it, whatever the name: `__proto__` is a name like any other.
        Object.defineProperty(object, name, { value: this.value(), writable: true, enumerable: true, configurable: true });
      });
    }
    WORD.lastIndex = this.#at;
    const word = WORD.exec(this.#text)![0];
    this.#at += word.length;
    const value: unknown = JSON.parse(word);
    return typeof value === 'number' && String(value) !== word ? new String(word) : value;
  }

  /** What stands between brackets. */
  #members<T>(close: string, into: T, read: (into: T) => void): T {
    this.#at += 1;
    while (this.#peek() !== close) {
      read(into);
      if (this.#peek() === ',') {
        this.#at += 1;
        this.#peek();
      }
    }
    this.#at += 1;
    return into;
  }

  #string(): string {
    const start = this.#at;
    for (this.#at += 1; this.#text[this.#at] !== '"'; this.#at += 1) if (this.#text[this.#at] === '\\') this.#at += 1;
    this.#at += 1;
    return JSON.parse(this.#text.slice(start, this.#at)) as string;
  }

  /** The next character that isn't white. */
  #peek() {
    while (' \n\r\t'.includes(this.#text[this.#at]!)) this.#at += 1;
    return this.#text[this.#at];
  }
}

/** Matches every text that holds a number which may lose digits, and few others. */
const UNSAFE = /(?:^|[[:,])\s*(?:-0|-?\d+[.eE]|-?\d{16})/;
const WORD = /[-+.\w]+/y;
const UNSEEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
