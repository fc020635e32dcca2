/**
 * Reads the header box of the console: one `name: value` a line, blank lines ignored. The first of a
 * repeated name counts, as on the wire.
 *
 * @param {string} box
 * @returns {Record<string, string>}
 * @throws {SyntaxError} naming the line that is not a header
 */
export function parseHeaders(box) {
  const headers = {};
  box.split('\n').forEach((line, index) => {
    if (line.trim() === '') return;
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0)).trim();
    if (name === '') throw new SyntaxError(`Header line ${index + 1} is not "name: value"`);
    if (!Object.hasOwn(headers, name)) headers[name] = line.slice(colon + 1).trim();
  });
  return headers;
}
