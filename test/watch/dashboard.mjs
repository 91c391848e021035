// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// node dashboard.mjs BASE SHOTS PLAYWRIGHT: a browser with the dashboard open. Reads commands from stdin, answers each
// with one line of JSON:
//   check MOMENT   what the page shows is what /v1/status says, in all fields; takes pictures
//   lost           the page says that the connection is lost
//   end            what was requested in all that time, and what went wrong
import {createInterface} from 'node:readline';
import {pathToFileURL} from 'node:url';

const [base, shots, playwright] = process.argv.slice(2);
const {default: {chromium}} = await import(pathToFileURL(playwright).href);
const kArguments = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
                    '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const browser = await chromium.launch({executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true,
                                       args: kArguments});

const requests = [];
const complaints = [];
let size = null;

// Of all that the page has loaded to be a page, uncompressed.
async function sizeOfPage() {
  let bytes = 0;
  for (const url of new Set(requests.filter(one => one.startsWith(base) && !one.includes('/v1/')))) {
    bytes += (await (await fetch(url)).arrayBuffer()).byteLength;
  }
  return bytes;
}

async function open(viewport, colorScheme) {
  const page = await (await browser.newContext({viewport, colorScheme})).newPage();
  page.on('request', request => requests.push(request.url()));
  page.on('pageerror', error => complaints.push(error.message));
  // That nobody answers while the sidecar is stopped is what the page is to cope with.
  page.on('console', message => message.type() === 'error' &&
      !/ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING)/.test(message.text()) && complaints.push(message.text()));
  await page.goto(`${base}/`);
  return page;
}

const page = await open({width: 1280, height: 900}, 'light');
const others = {dark: await open({width: 1280, height: 900}, 'dark'),
                phone: await open({width: 390, height: 844}, 'light')};

// ---- what /v1/status means, told apart from the page's own code

const none = value => value === null || value === undefined;
function bytesText(n) {
  if (none(n)) return 'not known';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; Math.abs(n) >= 1023.95 && i < 4; ++i) n /= 1024;
  return i ? `${n.toFixed(1)} ${units[i]}` : `${n} B`;
}
function secondsText(s) {
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const n = Math.round(s);
  if (n < 3600) return `${Math.floor(n / 60)} min ${n % 60} s`;
  return `${Math.floor(n / 3600)} h ${Math.floor(n % 3600 / 60)} min`;
}
const oneLine = text => text.replace(/\s+/g, ' ').trim();
const grouped = n => String(n).replace(/\B(?=(\d{3})+$)/g, ',');
const ms = n => n < 1000 ? `${n.toFixed(1)} ms` : `${(n / 1000).toFixed(1)} s`;
const wal = {reserved: '✓ reserved', extended: '! extended', unreserved: '✕ unreserved', lost: '✕ lost'};
const outcomes = {done: '✓', gate: '✕', backed_out: '✕', in_doubt: '✕', hook_failed: '✕'};

// [name, what must be shown]; a text that begins with '^' must only begin so; null: not there.
function expected(s) {
  const out = [['name', s.migration], ['phase', s.phase], ['paused', s.paused ? '! paused' : null],
    ['backfill_paused', s.backfill_paused ? '! copy held' : null],
    ['not_connected', s.connected ? null : '✕ not streaming'], ['next.text', s.next.text],
    ['next.command', s.next.command], ['last_error', none(s.last_error) ? null : oneLine(s.last_error)],
    ['lag.bytes', bytesText(s.lag.bytes)],
    ['lag.seconds', none(s.lag.seconds) ? null : secondsText(s.lag.seconds)],
    ['transactions', grouped(s.transactions)]];
  for (const name of ['received_lsn', 'applied_lsn', 'durable_lsn', 'acknowledged_lsn']) {
    out.push([name, s[name] ?? 'not known']);
  }
  out.push(['source.lsn', s.source.lsn ?? 'not known'], ['slot.name', s.slot.name],
    ['slot.wal_status', none(s.slot.wal_status) ? '! not known' : `^${wal[s.slot.wal_status]}`],
    ['slot.retained_bytes', bytesText(s.slot.retained_bytes)],
    ['slot.safe_bytes', s.slot.limited ? bytesText(s.slot.safe_bytes) : null],
    ['slot.lost', none(s.slot.limited) ? 'not known' : s.slot.limited ? '^' : '^never']);
  const r = s.rollback;
  out.push(['rollback', none(r.ready) ? 'not before a cutover' : r.ready ? '^✓ ready' : `^✕ not ready: ${r.why}`],
    ['writes.who', s.writes.who ?? (s.phase === 'cut_over' ? 'not known' : 'the source')],
    ['dead_letters', none(s.dead_letters) ? 'not known'
      : s.dead_letters > 0 ? `✕ ${grouped(s.dead_letters)}` : '✓ none'],
    ['tables', String(s.tables.length)]);
  s.tables.forEach((t, i) => {
    const add = (name, text) => out.push([`tables.${i}.${name}`, text]);
    for (const name of ['source', 'target', 'state']) add(name, oneLine(t[name]));
    add('rows_copied', none(t.rows_copied) ? null : grouped(t.rows_copied));
    add('differences', none(t.differences) ? '^'
      : t.differences > 0 ? `✕ ${grouped(t.differences)} differ` : '✓ equal');
    add('dirty_keys', none(t.dirty_keys) ? null : grouped(t.dirty_keys));
    for (const name of ['decoded', 'applied', 'filtered', 'dropped']) add(`books.${name}`, grouped(t.books[name]));
    add('books.dead_letters', t.books.dead_letters > 0 ? `✕ ${grouped(t.books.dead_letters)}` : '0');
  });
  const shut = s.gates.filter(g => !g.ok).length;
  out.push(['gates', s.gates.length === 0 ? null : shut ? `✕ NO-GO: ${shut} of ${s.gates.length} shut` : '✓ GO']);
  for (const g of s.gates) {
    out.push([`gate ${g.name}`, [g.ok ? '✓ holds' : '✕ shut', g.value, g.limit, g.ok ? '–' : g.remedy].join(' | ')]);
  }
  out.push(['blockers', s.blockers.map(b => oneLine(`pid ${b.pid}: ${b.query}`)).join(' | ')]);
  const c = s.cutover;
  const came = c.running ? '!' : outcomes[c.outcome] ?? '✕';
  const step = x => `${x.step} ${ms(x.at_ms)} ${ms(x.took_ms)} ${x.text === 'done' ? '✓ done' : `✕ ${x.text}`}`;
  out.push(['cutover.outcome', none(c.verb) ? null : `^${came} ${c.verb}`],
    ['cutover.refused_ms', none(c.refused_ms) ? null : ms(c.refused_ms)],
    ['cutover.steps', c.steps.map(step).join(' | ')]);
  return out;
}

// ---- what the page shows

function look() {
  const text = node => node === null ? null : node.textContent.replace(/\s+/g, ' ').trim();
  const field = (name, within = document) => text(within.querySelector(`[data-field="${name}"]`));
  const shown = {name: text(document.getElementById('name')),
                 'next.command': text(document.querySelector('#next code'))};
  for (const node of document.querySelectorAll('[data-field]')) {
    const name = node.getAttribute('data-field');
    if (!node.closest('#tables') && name !== 'command' && !(name in shown)) shown[name] = text(node);
  }
  const rows = [...document.querySelectorAll('#tables tbody tr')];
  shown.tables = String(rows.length);
  rows.forEach((row, i) => {
    for (const node of row.querySelectorAll('[data-field]')) {
      shown[`tables.${i}.${node.getAttribute('data-field')}`] = text(node);
    }
  });
  for (const row of document.querySelectorAll('#gates tbody tr')) {
    const cells = [field('ok', row), field('value', row), field('limit', row), text(row.lastElementChild)];
    shown[`gate ${field('name', row)}`] = cells.join(' | ');
  }
  shown.blockers = [...document.querySelectorAll('[data-field=blocker]')].map(text).join(' | ');
  shown['cutover.steps'] = [...document.querySelectorAll('#change tbody tr')]
    .map(row => [...row.children].map(text).join(' ')).join(' | ');
  const wide = document.documentElement.scrollWidth > innerWidth;
  const strange = document.querySelector('main b, main i') !== null;
  return {shown, wide, strange, live: text(document.getElementById('link'))};
}

const status = async () => (await fetch(`${base}/v1/status`)).json();
const same = (wanted, shown) => wanted === null ? shown === undefined || shown === null
  : typeof shown === 'string' && (wanted[0] === '^' ? shown.startsWith(wanted.slice(1)) : shown === wanted);

// Figures move: each must be what the status was just before or just after the look.
async function wrong() {
  const before = new Map(expected(await status()));
  const {shown, wide, strange, live} = await page.evaluate(look);
  const after = new Map(expected(await status()));
  const found = [];
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const wanted = [before.get(name) ?? null, after.get(name) ?? null];
    if (wanted.some(text => same(text, shown[name]))) continue;
    found.push(`${name}: shown ${shown[name]}, must be ${wanted[1]}`);
  }
  if (wide) found.push('the page is wider than the window');
  if (strange) found.push('a name has become an element');
  if (!live.startsWith('✓ live')) found.push(`the link: ${live}`);
  return {found, fields: after.size};
}

async function check(moment) {
  const end = Date.now() + 30000;
  let last;
  do {
    last = await wrong();
    if (!last.found.length) break;
    await new Promise(done => setTimeout(done, 150));
  } while (Date.now() < end);
  size ??= await sizeOfPage();
  await page.screenshot({path: `${shots}/${moment}-light.png`, fullPage: true});
  for (const [name, other] of Object.entries(others)) {
    const wide = await other.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    if (wide) last.found.push(`${name} is too wide`);
    await other.screenshot({path: `${shots}/${moment}-${name}.png`, fullPage: true});
  }
  return last;
}

async function lost() {
  const before = complaints.length;
  const place = page.locator('#lost');
  await place.waitFor({state: 'visible', timeout: 30000});
  const first = await place.textContent();
  await page.waitForTimeout(2500);
  const second = await place.textContent();
  await page.screenshot({path: `${shots}/lost-light.png`, fullPage: true});
  complaints.length = before;  // the browser says that nobody answers
  return {first, second, link: await page.locator('#link').textContent()};
}

async function end() {
  await browser.close();
  const hosts = [...new Set(requests.filter(url => !url.startsWith('data:')).map(url => new URL(url).host))];
  return {hosts, requests: requests.length, bytes: size, complaints};
}

console.log(JSON.stringify({ready: true}));
for await (const line of createInterface({input: process.stdin})) {
  const [verb, argument] = line.split(' ');
  const answer = await ({check, lost, end})[verb](argument).catch(error => ({error: String(error)}));
  console.log(JSON.stringify(answer));
  if (verb === 'end') break;
}
process.exit(0);
