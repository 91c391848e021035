// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// A line over the last minutes. Values that are not known leave a gap; nothing is drawn between two points that are
// further apart than `gapMs`.
'use strict';

const chart = (() => {
  const kWidth = 300;
  const kHeight = 60;
  const kSvg = 'http://www.w3.org/2000/svg';

  function svg(tag, attributes) {
    const made = document.createElementNS(kSvg, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  // points: [[time, value or null], ...] -> runs of points without a gap
  function runs(points, gapMs) {
    const out = [];
    let run = [];
    let before = null;
    for (const [at, value] of points) {
      if (value === null || (before !== null && at - before > gapMs)) {
        if (run.length) out.push(run);
        run = [];
      }
      if (value !== null) run.push([at, value]);
      before = at;
    }
    if (run.length) out.push(run);
    return out;
  }

  function draw({points, from, to, gapMs, title, text}) {
    const inside = points.filter(([at]) => at >= from && at <= to);
    const known = inside.filter(([, value]) => value !== null).map(([, value]) => value);
    const highest = known.length ? Math.max(...known) : null;
    const top = highest || 1;
    const x = at => ((at - from) / (to - from) * kWidth).toFixed(1);
    const y = value => (kHeight - value / top * (kHeight - 4) - 1).toFixed(1);
    const picture = svg('svg', {viewBox: `0 0 ${kWidth} ${kHeight}`, preserveAspectRatio: 'none', role: 'img'});
    for (const run of runs(inside, gapMs)) {
      const first = run[0];
      const last = run[run.length - 1];
      // A point alone would have no length.
      const line = run.map(([at, value]) => `${x(at)} ${y(value)}`).join('L') + (run.length === 1 ? 'h1' : '');
      picture.append(svg('path', {class: 'area', d: `M${x(first[0])} ${kHeight}L${line}L${x(last[0])} ${kHeight}Z`}),
                     svg('path', {class: 'stroke', d: `M${line}`}));
    }
    const said = highest === null ? `${title}: not known yet` : `${title}: at most ${text(highest)}`;
    picture.setAttribute('aria-label', `${said}, over the last ${Math.round((to - from) / 60000)} minutes`);
    return {picture, said};
  }

  return {draw};
})();
