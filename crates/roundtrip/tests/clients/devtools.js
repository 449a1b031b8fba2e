// Opens a page in Chromium by its developer protocol, over a pipe: node devtools.js URL LIST.json PICTURE.png
// Writes what the browser says of its requests (method, URL, status, protocol, fields of the answer, bytes) and a picture.
const { spawn } = require('child_process');
const fs = require('fs');
const [url, list, picture] = process.argv.slice(2);

const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
  '--disable-background-networking', '--disable-component-update', '--remote-debugging-pipe', '--window-size=800,600',
  `--user-data-dir=${process.cwd()}/profile-${list}`];
const chromium = spawn('chromium', flags, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const [to, from] = [chromium.stdio[3], chromium.stdio[4]];

let last = 0;
const answers = new Map();
const requests = new Map();
let loaded, session;
const whenLoaded = new Promise((resolve) => { loaded = resolve; });

// A message is JSON with a zero byte behind it.
function call(method, params = {}) {
  const id = ++last;
  to.write(JSON.stringify({ id, method, params, sessionId: session }) + '\0');
  return new Promise((resolve, reject) => answers.set(id, { resolve, reject }));
}

function hear(message) {
  const waiting = answers.get(message.id);
  if (waiting) message.error ? waiting.reject(new Error(message.error.message)) : waiting.resolve(message.result);
  const p = message.params;
  if (message.method === 'Network.requestWillBeSent') {
    requests.set(p.requestId, { method: p.request.method, url: p.request.url });
  } else if (message.method === 'Network.responseReceived') {
    const { status, protocol, headers: fields } = p.response;
    Object.assign(requests.get(p.requestId), { status, protocol, fields });
  } else if (message.method === 'Network.loadingFinished') {
    Object.assign(requests.get(p.requestId), { bytes: p.encodedDataLength });
  } else if (message.method === 'Page.loadEventFired') {
    loaded();
  }
}

let heard = '';
from.setEncoding('utf8').on('data', (text) => {
  const messages = (heard + text).split('\0');
  heard = messages.pop();
  messages.forEach((message) => hear(JSON.parse(message)));
});

async function main() {
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await call('Target.attachToTarget', { targetId, flatten: true });
  session = sessionId;
  await call('Network.enable');
  await call('Page.enable');
  await call('Page.navigate', { url });
  await whenLoaded;
  // The icon is looked for after the page is there.
  const open = () => [...requests.values()].some((r) => r.status === undefined);
  for (let n = 0; n < 5 || (open() && n < 100); n++) await new Promise((resolve) => setTimeout(resolve, 100));
  const { data } = await call('Page.captureScreenshot', { format: 'png' });
  fs.writeFileSync(picture, Buffer.from(data, 'base64'));
  fs.writeFileSync(list, JSON.stringify([...requests.values()], null, 1));
  session = undefined;
  await call('Browser.close');
  console.log(`loaded ${url}`);
}

chromium.on('error', (e) => { console.error(e.message); process.exit(1); });
main().catch((e) => { console.error(e.message); chromium.kill(); process.exit(1); });
