// Reads values that nobody has vouched for. The hub checks what its own events hold; the data of everybody else's may
// be any JSON, or absent. What isn't of the kind that was asked for is as good as not there.

export type Fields = Readonly<Record<string, unknown>>;

/** An object's fields; of anything else none. */
export const fields = (value: unknown): Fields => (typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof String) ? (value as Fields) : {});

export const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

export function number(value: unknown): number | undefined {
  const read = value instanceof String ? Number(value) : value;
  return typeof read === 'number' && Number.isFinite(read) ? read : undefined;
}

/** A time that a calendar knows: beyond it Date throws. */
export function time(value: unknown): number | undefined {
  const read = number(value);
  return read !== undefined && Math.abs(read) <= LAST_TIME ? read : undefined;
}

export const flag = (value: unknown): boolean | undefined => (typeof value === 'boolean' ? value : undefined);

export const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

export const texts = (value: unknown): string[] => list(value).filter((item) => typeof item === 'string');

/** One of a few words. */
export const word = <T extends string>(value: unknown, words: readonly T[]): T | undefined => words.find((known) => known === value);

const LAST_TIME = 8.64e15;
