// Builds the sources to a temporary folder and holds the result against the files that the binary embeds.

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
const embedded = join(root, '../src/dashboard/dist');
const LIMIT = 56 * 1024;

const fresh = await mkdtemp(join(tmpdir(), 'dashboard-'));
try {
  await build({ root, logLevel: 'warn', build: { outDir: fresh } });
  const [wanted, found] = await Promise.all([read(fresh), read(embedded)]);
  const names = [...new Set([...wanted.keys(), ...found.keys()])];
  const differing = names.filter((name) => !wanted.get(name)?.equals(found.get(name) ?? Buffer.of()));
  if (differing.length > 0) {
    console.error(`The embedded files differ from what the sources build: ${differing.join(', ')}. Run npm run build.`);
    process.exitCode = 1;
  }
  const size = [...wanted.values()].reduce((sum, bytes) => sum + gzipSync(bytes).length, 0);
  console.log(`${names.length} files, ${(size / 1024).toFixed(1)} KiB compressed`);
  if (size > LIMIT) {
    console.error(`That is more than ${LIMIT / 1024} KiB.`);
    process.exitCode = 1;
  }
} finally {
  await rm(fresh, { recursive: true });
}

async function read(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(await Promise.all(files.map(async (file) => [file.slice(folder.length), await readFile(file)])));
}
