// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What /v1/status says, again and again. Whatever comes from there is only ever text: names may hold anything.
'use strict';

// ------------------------------------------------------------------------------------------ words

const kUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

function bytes(n) {
  if (n === null) return 'not known';
  let unit = 0;
  let value = n;
  while (Math.abs(value) >= 1023.95 && unit < kUnits.length - 1) {
    value /= 1024;
    ++unit;
  }
  return `${unit === 0 ? Math.round(value) : value.toFixed(1)} ${kUnits[unit]}`;
}

function seconds(s) {
  if (s === null) return 'not known';
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172800) return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
  return `${Math.floor(whole / 86400)} days`;
}

const count = n => n === null ? '–' : Math.round(n).toLocaleString('en-US');
const milliseconds = ms => ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`;
const clock = iso => iso === null ? 'not known' : `${iso.slice(11, 19)} UTC`;

function lsnNumber(lsn) {
  const [high, low] = lsn.split('/');
  return parseInt(high, 16) * 4294967296 + parseInt(low, 16);
}

// --------------------------------------------------------------------------------------- elements

// el('p', {class: 'big'}, 'text', child): attributes that are null are left out, children that are null too.
function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null));
  return made;
}

// What did not change stays, so that a text that is being selected is not taken away.
function put(id, ...children) {
  const place = document.getElementById(id);
  const fresh = place.cloneNode(false);
  fresh.append(...children.filter(child => child !== null));
  if (!place.isEqualNode(fresh)) place.replaceChildren(...fresh.childNodes);
}

const kSigns = {good: '✓', warn: '!', bad: '✕'};
// A sign, a word and a colour; `field` names it for whoever looks for it.
const mark = (kind, text, field) =>
  el('span', {class: kind, 'data-field': field || null}, `${kSigns[kind]} ${text}`);
const field = (name, text, kind) => el('span', {'data-field': name, class: kind || null}, text);
const command = text => el('code', {'data-field': 'command'}, text);

function facts(rows) {
  const body = el('tbody', null);
  for (const [name, ...values] of rows.filter(row => row !== null)) {
    body.append(el('tr', null, el('th', {scope: 'row'}, name), el('td', null, ...values)));
  }
  return el('table', {class: 'facts'}, body);
}

// columns: [[head, kind], ...]; rows: [[cell, ...], ...], a cell is text, an element, or null for nothing to say.
function grid(columns, rows) {
  const head = el('tr', null,
                  ...columns.map(([name, kind]) => el('th', {scope: 'col', class: kind || null}, name)));
  const body = el('tbody', null);
  for (const row of rows) {
    const cells = row.map((cell, i) => {
      const [name, kind] = columns[i];
      if (i === 0) return el('th', {scope: 'row'}, cell);
      const classes = [kind, cell === null ? 'none' : null].filter(Boolean).join(' ');
      return el('td', {class: classes || null, 'data-label': name}, cell === null ? '–' : cell);
    });
    body.append(el('tr', null, ...cells));
  }
  return el('table', {class: 'wide'}, el('thead', null, head), body);
}

// --------------------------------------------------------------------------------------- sections

const kPhases = {
  new: 'new', backfilling: 'copying old rows', streaming: 'streaming', cutting_over: 'cutting over',
  cut_over: 'cut over', rolling_back: 'rolling back', finished: 'finished', removed: 'removed'
};

function showHead(s) {
  put('name', s.migration);
  const way = s.direction === 'reverse' ? '← reverse' : '→ forward';
  put('phase', field('phase', s.phase), el('span', {class: 'soft'}, way),
      s.paused ? mark('warn', 'paused', 'paused') : null,
      s.backfill_paused ? mark('warn', 'copy held', 'backfill_paused') : null,
      s.connected ? null : mark('bad', 'not streaming', 'not_connected'));
  const sign = s.connected && !s.paused ? '' : '! ';
  document.title = `${sign}${s.migration}: ${kPhases[s.phase] || s.phase}, lag ${bytes(s.lag.bytes)}`;
  const started = s.started_at === null ? 'at a time not known' : `${s.started_at.slice(0, 19)}Z`;
  put('asof', s.now === null ? '' : `As of ${clock(s.now)}; the sidecar was started ${started}.`);
}

function showNext(s) {
  put('next', el('p', null, el('strong', null, 'Next: '), field('next.text', s.next.text)),
      s.next.command === null ? null : command(s.next.command),
      s.last_error === null ? null : el('p', {class: 'error'}, '✕ ', field('last_error', s.last_error)));
}

function showLag(s) {
  put('lag', el('p', {class: 'big'}, field('lag.bytes', bytes(s.lag.bytes)),
                s.lag.seconds === null ? '' : ' · ',
                s.lag.seconds === null ? null : field('lag.seconds', seconds(s.lag.seconds))),
      el('p', {class: 'soft'}, field('rows_per_second', s.rows_per_second === null ? '–' : count(s.rows_per_second)),
         ' changes/s, ', field('transactions', count(s.transactions)), ' transactions'));
}

function showPositions(s) {
  const end = s.source.lsn;
  const row = (name, lsn, meaning) => {
    const behind = end !== null && lsn !== null ? lsnNumber(end) - lsnNumber(lsn) : null;
    const far = behind === null || meaning === 'source.lsn' ? ''
      : el('span', {class: 'soft'}, behind > 0 ? `${bytes(behind)} behind` : 'at the end');
    return [name, field(meaning, lsn === null ? 'not known' : lsn), ' ', far];
  };
  const from = s.direction === 'reverse' ? 'target' : 'source';
  put('positions', facts([row(`${from} is at`, end, 'source.lsn'), row('received', s.received_lsn, 'received_lsn'),
    row('applied', s.applied_lsn, 'applied_lsn'), row('durable', s.durable_lsn, 'durable_lsn'),
    row('acknowledged', s.acknowledged_lsn, 'acknowledged_lsn')]));
}

function slotMark(status) {
  if (status === null) return mark('warn', 'not known', 'slot.wal_status');
  if (status === 'reserved') return mark('good', status, 'slot.wal_status');
  if (status === 'extended') return mark('warn', `${status}: more than max_wal_size is kept`, 'slot.wal_status');
  if (status === 'unreserved') return mark('bad', `${status}: may be lost at the next checkpoint`, 'slot.wal_status');
  return mark('bad', `${status}: WAL that is needed is gone`, 'slot.wal_status');
}

function walLost(slot) {
  const rate = slot.wal_bytes_per_second;
  if (slot.limited === null) return 'not known';
  if (!slot.limited) {
    const fills = rate ? `, at ${bytes(rate)}/s at most` : '';
    return `never: max_slot_wal_keep_size is -1; the disk fills instead${fills}`;
  }
  if (slot.safe_bytes === null) return 'not known';
  if (slot.safe_bytes <= 0) return 'now';
  if (slot.seconds_left !== null) return `in ${seconds(slot.seconds_left)}, at the present rate`;
  if (rate) return `not at the present rate; ${seconds(slot.safe_bytes / rate)} after a stop of walign`;
  return 'not at the present rate';
}

function showSlot(s) {
  const slot = s.slot;
  const soon = slot.seconds_left !== null && slot.seconds_left < 3600;
  put('slot', facts([
    ['name', field('slot.name', slot.name === null ? '–' : slot.name)],
    ['WAL', slotMark(slot.wal_status)],
    ['kept', field('slot.retained_bytes', bytes(slot.retained_bytes))],
    slot.limited ? ['room left', field('slot.safe_bytes', bytes(slot.safe_bytes))] : null,
    ['WAL is lost', soon ? mark('bad', walLost(slot), 'slot.lost') : field('slot.lost', walLost(slot))]
  ]));
}

function rollbackFact(s) {
  const r = s.rollback;
  if (r.ready === null) return field('rollback', 'not before a cutover', 'soft');
  if (r.ready) {
    return mark('good', `ready${r.lag_seconds === null ? '' : `, ${seconds(r.lag_seconds)} behind`}`, 'rollback');
  }
  return mark('bad', `not ready: ${r.why === null ? 'not known why' : r.why}`, 'rollback');
}

function showSides(s) {
  const w = s.writes;
  const who = w.who !== null ? w.who : s.phase === 'cut_over' ? 'not known' : 'the source';
  const letters = s.dead_letters;
  const both = w.source === 'OPEN' && w.target === 'OPEN';
  put('sides', facts([
    ['takes writes', both ? mark('bad', who, 'writes.who') : field('writes.who', who),
     s.epoch === null || w.who === null ? '' : ` (epoch ${s.epoch})`],
    ['rollback', rollbackFact(s)],
    ['dead letters', letters === null ? field('dead_letters', 'not known')
      : letters > 0 ? mark('bad', count(letters), 'dead_letters') : mark('good', 'none', 'dead_letters'),
     letters > 0 ? el('span', null, '  ', command('walign dead-letters list')) : ''],
    ['journal', s.journal.from_lsn === null ? 'empty'
      : `${bytes(s.journal.bytes)}, from ${s.journal.from_lsn}, begun ${seconds(s.journal.age_seconds)} ago`]
  ]));
}

function copied(t) {
  if (t.rows_copied === null) return null;
  if (t.state === 'streaming') return field('rows_copied', count(t.rows_copied));
  const whole = Math.max(t.rows_estimated || 0, t.rows_copied, 1);
  return el('div', null, el('progress', {max: whole, value: t.rows_copied}),
            field('rows_copied', count(t.rows_copied)), ' of about ', field('rows_estimated', count(t.rows_estimated)));
}

function pace(t) {
  if (t.rows_per_second === null) return null;
  const left = t.seconds_left === null ? '' : `, ${seconds(t.seconds_left)} left`;
  return `${count(t.rows_per_second)} rows/s${left}`;
}

function verified(t) {
  if (t.differences === null) {
    return field('differences', t.verified_at_lsn === null ? 'not yet' : `as of ${t.verified_at_lsn}`);
  }
  if (t.differences > 0) return mark('bad', `${count(t.differences)} differ`, 'differences');
  return mark('good', 'equal', 'differences');
}

const kTableColumns = [['Table'], ['To'], ['State'], ['Old rows copied'], ['Pace'], ['Verified'],
                       ['Changed since', 'n'], ['Decoded', 'n'], ['Applied', 'n'],
                       ['Filtered', 'n'], ['Dropped', 'n'], ['Dead letters', 'n']];

function showTables(s) {
  if (!s.tables.length) return put('tables', el('p', {class: 'soft'}, 'Not known yet.'));
  const rows = s.tables.map(t => {
    const b = t.books;
    const letters = b.dead_letters > 0 ? mark('bad', count(b.dead_letters), 'books.dead_letters')
                                       : field('books.dead_letters', '0');
    return [field('source', t.source), field('target', t.target), field('state', t.state), copied(t), pace(t),
            verified(t), t.dirty_keys === null ? null : field('dirty_keys', count(t.dirty_keys)),
            field('books.decoded', count(b.decoded)), field('books.applied', count(b.applied)),
            field('books.filtered', count(b.filtered)), field('books.dropped', count(b.dropped)), letters];
  });
  put('tables', grid(kTableColumns, rows));
}

function showGates(s) {
  const asks = s.direction === 'reverse' ? 'walign rollback --dry-run' : 'walign cutover --dry-run';
  if (!s.gates.length) {
    return put('gates', el('p', {class: 'soft'}, 'Not asked since the sidecar was started. ', command(asks),
                           ' asks them, and changes nothing.'));
  }
  const shut = s.gates.filter(g => !g.ok).length;
  const known = s.gates_asked_at !== null && s.now !== null;
  const age = known ? (Date.parse(s.now) - Date.parse(s.gates_asked_at)) / 1000 : null;
  const verdict = shut === 0 ? mark('good', 'GO', 'gates')
                             : mark('bad', `NO-GO: ${shut} of ${s.gates.length} shut`, 'gates');
  // What is in the way comes first.
  const rows = [...s.gates].sort((a, b) => a.ok - b.ok).map(g => [
    field('name', g.name), g.ok ? mark('good', 'holds', 'ok') : mark('bad', 'shut', 'ok'), field('value', g.value),
    field('limit', g.limit), g.remedy]);
  const blockers = s.blockers.map(b => el('li', null, field('blocker', `pid ${b.pid}: ${b.query}`)));
  put('gates', el('p', {class: 'big'}, verdict),
      el('p', {class: 'soft'}, `as asked ${age === null ? 'before' : seconds(Math.max(0, age)) + ' ago'}; `,
         command(asks), ' asks again'),
      grid([['Gate'], ['Holds'], ['Is'], ['Must be'], ['What opens it']], rows),
      blockers.length ? el('p', null, 'In the way:') : null, blockers.length ? el('ul', null, ...blockers) : null);
}

const kOutcomes = {
  done: 'done', gate: 'refused, a gate does not hold', backed_out: 'backed out, writes are where they were',
  in_doubt: 'IN DOUBT', hook_failed: 'done, but the switch hook failed'
};
const kExtents = {dry_run: ' (dry run)', rehearse: ' (rehearsal)', real: ''};

function outcome(c) {
  const what = `${c.verb || 'change'}${kExtents[c.extent] || ''}`;
  if (c.running) return mark('warn', `${what} under way`, 'cutover.outcome');
  if (c.outcome === null) {
    return c.message === null ? null : mark('bad', `${what} failed: ${c.message}`, 'cutover.outcome');
  }
  const text = `${what}: ${kOutcomes[c.outcome] || c.outcome}${c.message === null ? '' : `: ${c.message}`}`;
  return mark(c.outcome === 'done' ? 'good' : 'bad', text, 'cutover.outcome');
}

function showChange(s) {
  const c = s.cutover;
  if (!c.steps.length && c.verb === null) {
    return put('change', el('p', {class: 'soft'}, 'None since the sidecar was started.'));
  }
  const rows = c.steps.map(step => [
    field('step', step.step), milliseconds(step.at_ms), milliseconds(step.took_ms),
    step.text === 'done' ? mark('good', 'done', 'text') : mark('bad', step.text, 'text')]);
  const came = outcome(c);
  put('change', came === null ? null : el('p', null, came),
      c.refused_ms === null ? null : el('p', null, 'Writes waited or were refused for ',
                                        field('cutover.refused_ms', milliseconds(c.refused_ms)), '.'),
      c.lsn === null ? null : el('p', {class: 'soft'}, 'Fence at ', field('cutover.lsn', c.lsn)),
      c.hint === null ? null : el('p', {class: 'soft'}, c.hint),
      rows.length ? grid([['Step'], ['At', 'n'], ['Took', 'n'], ['Came to']], rows) : null);
}

// ------------------------------------------------------------------------------------------ charts

const kSpanMs = 15 * 60000;
const kGapMs = 10000;
let samples = [];  // [at, lag bytes, lag seconds]

function remember(s) {
  if (s.now === null) return;
  const at = Date.parse(s.now);
  if (samples.length && samples[samples.length - 1][0] >= at) return;
  samples.push([at, s.lag.bytes, s.lag.seconds]);
  while (samples[0][0] < at - kSpanMs) samples.shift();
}

function figure(title, column, text, now) {
  const points = samples.map(sample => [sample[0], sample[column]]);
  const {picture, said} = chart.draw({points, from: now - kSpanMs, to: now, gapMs: kGapMs, title, text});
  const caption = el('figcaption', null, el('span', null, '15 min ago'), el('span', null, said),
                     el('span', null, 'now'));
  return el('figure', {class: 'chart'}, picture, caption);
}

function showCharts(s) {
  const now = s.now === null ? Date.now() : Date.parse(s.now);
  put('charts', figure('Seconds', 2, seconds, now), figure('Bytes', 1, bytes, now));
}

// --------------------------------------------------------------------------------------- the link

const kSilentMs = 5000;
const kAgainMs = 3000;
let heardAt = null;      // by this page's clock
let newest = null;
let reading = 'events';  // or 'asking', while the sidecar has too many readers
let source = null;

function show(s) {
  newest = s;
  remember(s);
  const sections = [showHead, showNext, showLag, showCharts, showPositions, showSlot, showSides, showTables, showGates,
                    showChange];
  for (const section of sections) section(s);
}

function heard() {
  heardAt = Date.now();
  showLink();
}

function showLink() {
  const silent = heardAt === null ? null : Date.now() - heardAt;
  const lost = silent === null || silent > kSilentMs || (source === null && reading === 'events');
  document.body.classList.toggle('stale', lost && newest !== null);
  const place = document.getElementById('lost');
  place.hidden = !(lost && silent !== null);
  if (!place.hidden) {
    put('lost', `✕ Connection to the sidecar lost, for ${seconds(Math.round(silent / 1000)).replace('.0 s', ' s')}. `,
        newest === null ? '' : `What is shown is as of ${clock(newest.now)}.`, ' Is it running? ',
        command('walign status'));
  }
  put('link', lost ? mark('bad', heardAt === null ? 'connecting' : 'connection lost')
                   : mark('good', reading === 'events' ? 'live' : 'live, asked every 3 s'));
}

async function fetchHistory() {
  const answer = await fetch('/v1/history', {cache: 'no-store'});
  if (!answer.ok) return;
  const history = await answer.json();
  const last = history.samples.length ? history.samples[history.samples.length - 1][0] : 0;
  const since = samples.filter(sample => sample[0] > last);
  samples = history.samples.map(sample => sample.slice(0, 3)).concat(since);
}

async function ask() {
  try {
    const answer = await fetch('/v1/status', {cache: 'no-store'});
    if (!answer.ok) return;
    reading = 'asking';
    show(await answer.json());
    heard();
  } catch (error) {
    reading = 'events';
  }
}

function connect() {
  source = new EventSource('/v1/events');
  source.onopen = () => {
    reading = 'events';
    fetchHistory().catch(() => {});
    heard();
  };
  source.addEventListener('status', event => {
    show(JSON.parse(event.data));
    heard();
  });
  source.addEventListener('alive', heard);
  source.onerror = () => {
    // It connects again by itself, unless it was refused.
    if (source.readyState !== EventSource.CLOSED) return;
    ask();
    setTimeout(connect, kAgainMs);
  };
}

connect();
setInterval(showLink, 1000);
