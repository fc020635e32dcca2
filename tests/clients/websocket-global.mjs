// Browsers, and Node from version 22 on, have this by themselves.
import { WebSocket } from 'ws';

globalThis.WebSocket ??= WebSocket;
