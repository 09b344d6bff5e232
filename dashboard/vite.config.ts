/// <reference types="vitest/config" />
import { defineConfig } from 'vite';

// File names carry no hash: the files are committed and embedded, and the hub answers with an ETag.
export default defineConfig({
  base: './',
  build: {
    outDir: '../src/dashboard/dist',
    emptyOutDir: true,
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    modulePreload: false,
    reportCompressedSize: true,
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/app.js',
        chunkFileNames: 'assets/[name].js',
        assetFileNames: 'assets/app.[ext]',
      },
    },
  },
  worker: {
    format: 'es',
    rolldownOptions: { output: { entryFileNames: 'assets/worker.js' } },
  },
  test: { include: ['test/unit/**/*.test.ts'] },
});
