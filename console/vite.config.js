import { defineConfig } from 'vite';

// Where `npm run dev` finds the broker: the page itself needs no setting, it talks to its own origin.
const broker = process.env.STOMPBOX_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  base: './',
  // sockjs-client was written for CommonJS bundlers, which know `global`.
  define: { global: 'globalThis' },
  build: {
    target: 'es2022',
    assetsDir: 'assets',
    // Nothing as a data: URL inside scripts and styles, so that a strict content security policy holds.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      '/ws': { target: broker, ws: true },
      '/api': { target: broker },
    },
  },
});
