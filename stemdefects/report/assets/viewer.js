// The movie with its detections: looked at, and corrected. Data: the JSON beside it (`report.viewer.data`).
(() => {
  const d = JSON.parse(document.getElementById('movie-data').textContent);
  const $ = id => document.getElementById(id), image = {w: d.width, h: d.height};
  const fields = ([x, y, kind, track, score, prob, light]) => ({x, y, kind: d.kinds[kind], track, score, prob, light});
  const base = d.marks.map(list => list.map(fields));
  const together = d.together && d.together.map(list => list.map(fields));
  const shown = i => ({...i, ...(i.y_px !== undefined && {y_px: i.y_px * d.stretch[0], x_px: i.x_px * d.stretch[1]}),
                       ...(i.y_to_px !== undefined && {y_to_px: i.y_to_px * d.stretch[0], x_to_px: i.x_to_px * d.stretch[1]})});
  const list = Corrections.start(d.given.map(shown));
  const colour = Object.fromEntries(d.kinds.map((k, i) => [k, d.colours[i]]));
  // dark colours have a light rim, light ones a dark rim: what is around a mark may be dark or bright
  const rim = Object.fromEntries(d.kinds.map(k => {
    const [r, g, b] = [1, 3, 5].map(i => parseInt(colour[k].slice(i, i + 2), 16));
    return [k, .3 * r + .59 * g + .11 * b < 120 ? '#fff' : '#000'];
  }));
  const shape = Object.fromEntries(d.kinds.map((k, i) => [k, d.shapes[i]]));
  const still = window.matchMedia && matchMedia('(prefers-reduced-motion: reduce)').matches;
  let k = 0, camera = null, timer = null, chosen = null, from = null, drag = null, hovered = null;
  const canvases = [$('movie'), $('movie-together')].filter(Boolean);
  const view = {w: 0, h: 0};
  const images = d.pictures.map(p => {
    if (!p) return null;
    const i = new Image(); i.onload = () => { draw(); if (chosen) detail(); }; i.src = p; return i;
  });
  const say = text => { $('said').textContent = text; };
  // what was applied before the page was made is in the marks already
  const marks = (f = k) => Corrections.marksOf(base[f], list.items.slice(list.kept), d.frames[f], d.drift[f], d.reach);
  const on = () => new Set([...document.querySelectorAll('.viewer .kind')].filter(b => b.checked).map(b => b.value));

  function size() {
    const side = $('aside').checked && together ? 2 : 1;
    for (const c of canvases) c.parentElement.hidden = c.id === 'movie-together' && side === 1;
    const room = Math.max(160, Math.floor(Math.min((canvases[0].closest('.screens').clientWidth - 12 * (side - 1)) / side, 900)));
    const h = Math.round(Math.min(room * image.h / image.w, Math.max(240, innerHeight * .8)));
    const w = Math.round(Math.max(160, Math.min(room, h * image.w / image.h)));
    const whole = !camera || camera.scale <= Camera.fit(view, image).scale * 1.001;
    view.w = w; view.h = h;
    const ratio = devicePixelRatio || 1;
    for (const c of canvases) {
      c.width = w * ratio; c.height = h * ratio; c.style.width = w + 'px'; c.style.height = h + 'px';
      c.getContext('2d').setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    camera = whole ? Camera.fit(view, image) : Camera.zoom(camera, 1, 0, 0, view, image);
    draw();
  }

  function outline(c, what, x, y, r) {
    c.beginPath();
    if (what === 'circle') c.arc(x, y, r, 0, 7);
    else if (what === 'square') c.rect(x - r * .9, y - r * .9, r * 1.8, r * 1.8);
    else if (what === 'diamond') { c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.2, y); c.lineTo(x, y + r * 1.2); c.lineTo(x - r * 1.2, y); c.closePath(); }
    else { c.moveTo(x, y - r * 1.25); c.lineTo(x + r * 1.1, y + r * .8); c.lineTo(x - r * 1.1, y + r * .8); c.closePath(); }
  }

  function drawOne(canvas, some, own) {
    const c = canvas.getContext('2d'), {w, h} = view;
    c.fillStyle = '#000'; c.fillRect(0, 0, w, h);
    const [x0, y0] = Camera.toScreen(camera, -.5, -.5), i = images[k];
    c.fillStyle = i ? '#000' : '#f4f4f4'; c.fillRect(x0, y0, image.w * camera.scale, image.h * camera.scale);
    c.imageSmoothingEnabled = camera.scale < 6;
    if (i && i.complete) c.drawImage(i, x0, y0, image.w * camera.scale, image.h * camera.scale);
    if (own) regions(c);
    const seen = on(), r = Math.min(Math.max(.3 * d.cell * camera.scale, 5), 40);
    if ($('marks').checked) for (const m of some) {
      if (!seen.has(m.kind)) continue;
      const [x, y] = Camera.toScreen(camera, m.x, m.y);
      if (x < -r || y < -r || x > w + r || y > h + r) continue;
      const gone = m.state === 'deleted' || m.state === 'excluded';
      c.setLineDash(m.state === 'added' || m.state === 'relabelled' ? [4, 3] : []);
      c.globalAlpha = gone ? .35 : .45 + .55 * m.prob;
      for (const [style, width] of [[rim[m.kind], 3.8], [colour[m.kind], 2]]) {
        c.strokeStyle = style; c.lineWidth = width; outline(c, shape[m.kind], x, y, r); c.stroke();
      }
      if (gone) { c.beginPath(); c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.stroke(); }
      c.globalAlpha = 1; c.setLineDash([]);
    }
    if (own && chosen && chosen.frame === d.frames[k]) ring(c, chosen, '#fff', r + 4);
    if (own && from && from.frame === d.frames[k]) ring(c, from, '#ff0', r + 7);
    if (own && chosen) trail(c);
    if (own && mode() !== 'look') {
      c.strokeStyle = '#fff'; c.lineWidth = 1; c.beginPath();
      c.moveTo(w / 2 - 8, h / 2); c.lineTo(w / 2 + 8, h / 2); c.moveTo(w / 2, h / 2 - 8); c.lineTo(w / 2, h / 2 + 8); c.stroke();
    }
    if (together && $('aside').checked) {
      const said = own ? 'this frame alone' : 'by all frames together';
      c.font = '12px sans-serif'; c.fillStyle = 'rgba(0,0,0,.65)'; c.fillRect(5, 5, c.measureText(said).width + 10, 20);
      c.fillStyle = '#fff'; c.fillText(said, 10, 19);
    }
    if (d.bar) {
      c.font = '12px sans-serif'; const long = d.bar.px * camera.scale;
      c.fillStyle = 'rgba(0,0,0,.65)'; c.fillRect(5, h - 34, Math.max(long, c.measureText(d.bar.text).width) + 10, 29);
      c.fillStyle = '#fff'; c.fillRect(10, h - 14, long, 4); c.fillText(d.bar.text, 10, h - 19);
    }
  }
  function ring(c, m, style, r) {
    const [x, y] = Camera.toScreen(camera, m.x, m.y);
    c.strokeStyle = style; c.lineWidth = 2; c.beginPath(); c.arc(x, y, r, 0, 7); c.stroke();
  }
  function trail(c) {
    const t = d.tracks[chosen.track]; if (!t) return;
    c.strokeStyle = colour[chosen.kind]; c.lineWidth = 1.2; c.globalAlpha = .9; c.beginPath();
    t.forEach(([, x, y], n) => { const p = Camera.toScreen(camera, x, y); n ? c.lineTo(...p) : c.moveTo(...p); });
    c.stroke(); c.globalAlpha = 1;
  }
  function regions(c) {
    c.fillStyle = 'rgba(255,80,80,.25)'; c.strokeStyle = '#f55'; c.lineWidth = 1.5;
    for (const i of list.items) {
      if (i.action !== 'exclude' || (i.frame !== undefined && i.frame !== d.frames[k])) continue;
      const [dy, dx] = i.frame === undefined ? d.drift[k] : [0, 0];
      box(c, i.x_px + dx, i.y_px + dy, i.x_to_px + dx, i.y_to_px + dy);
    }
    if (drag && drag.box) box(c, ...drag.box);
  }
  function box(c, ax, ay, bx, by) {
    const [x, y] = Camera.toScreen(camera, Math.min(ax, bx), Math.min(ay, by));
    const w = Math.abs(ax - bx) * camera.scale, h = Math.abs(ay - by) * camera.scale;
    c.fillRect(x, y, w, h); c.strokeRect(x, y, w, h);
  }

  function draw() {
    if (!camera) return;
    const here = marks(), there = here.filter(m => m.state !== 'deleted' && m.state !== 'excluded');
    drawOne(canvases[0], here, true);
    if (canvases[1] && $('aside').checked) drawOne(canvases[1], together[k], false);
    const time = d.unit === 's' ? `, ${d.times[k].toFixed(1)} s` : '';
    const text = d.frames.length > 1 ? `frame ${d.frames[k]}${time}, ${there.length} detections` : `${there.length} detections`;
    $('when').textContent = text;
    canvases[0].setAttribute('aria-label', `${text}. Keys: arrows change the frame, n and p choose a detection.`);
    $('checked').checked = Corrections.isChecked(list.items, d.frames[k]);
    const made = list.items.length - list.kept;
    $('save').textContent = `Save corrections.csv (${list.items.length})`;
    $('save').disabled = !list.items.length; $('undo').disabled = !made; $('redo').disabled = !list.undone.length;
    for (const id of ['delete', 'relabel', 'relink', 'unlink']) $(id).disabled = !chosen || chosen.frame !== d.frames[k];
  }

  const describe = m => `${m.kind}, probability ${m.prob.toFixed(2)}` +
    (m.light === null ? '' : `, light ${m.light.toFixed(2)} of an ideal column`) +
    (d.frames.length < 2 ? '' : m.track >= 0 ? `, track ${m.track}` : ', in no track') + (m.state ? ` (${m.state})` : '');

  function choose(m) {
    chosen = m && {...m, frame: d.frames[k]};
    if (chosen) say(`${describe(m)}, at y ${(m.y / d.stretch[0]).toFixed(1)}, x ${(m.x / d.stretch[1]).toFixed(1)} px`);
    detail(); draw();
  }

  // patch over time, cut from the frames shown, and what each frame says
  function detail() {
    const part = $('detail'); part.hidden = !chosen;
    if (!chosen) return;
    $('who').textContent = describe(chosen);
    const t = d.tracks[chosen.track] || [[chosen.frame, chosen.x, chosen.y, d.kinds.indexOf(chosen.kind), chosen.prob, chosen.light]];
    const at = new Map(t.map(p => [p[0], p])), strip = $('patches'), c = strip.getContext('2d');
    const n = d.frames.length, side = n > 1 ? 56 : 180, across = Math.max(1, Math.min(n, Math.floor(part.clientWidth / side)));
    strip.width = across * side; strip.height = Math.ceil(n / across) * side;
    c.fillStyle = '#222'; c.fillRect(0, 0, strip.width, strip.height);
    const reach = 1.5 * d.cell, near = f => t.reduce((a, b) => Math.abs(b[0] - f) < Math.abs(a[0] - f) ? b : a);
    d.frames.forEach((f, i) => {
      const p = near(f), seen = at.has(f), picture = images[i], j = d.frames.indexOf(p[0]);
      const [dy, dx] = j < 0 ? [0, 0] : [d.drift[i][0] - d.drift[j][0], d.drift[i][1] - d.drift[j][1]];
      const x = p[1] + (seen ? 0 : dx), y = p[2] + (seen ? 0 : dy), q = picture && picture.naturalWidth / image.w;
      const left = i % across * side, top = Math.floor(i / across) * side;
      if (picture && picture.complete) c.drawImage(picture, (x + .5 - reach) * q, (y + .5 - reach) * q, 2 * reach * q, 2 * reach * q, left + 1, top + 1, side - 2, side - 2);
      if (seen) { c.strokeStyle = colour[d.kinds[at.get(f)[3]]]; c.lineWidth = 2; c.strokeRect(left + 2, top + 2, side - 4, side - 4); }
      if (i === k) { c.strokeStyle = '#fff'; c.setLineDash([3, 3]); c.strokeRect(left + 2, top + 2, side - 4, side - 4); c.setLineDash([]); }
    });
    strip.onclick = e => { const i = Math.floor(e.offsetX / strip.clientWidth * across) + across * Math.floor(e.offsetY / (side * strip.clientWidth / strip.width)); if (i < n) go(i); };
    if (n > 1) evidence(t);
  }

  function evidence(t) {
    const w = 640, h = 130, first = d.frames[0], last = d.frames[d.frames.length - 1] || 1;
    const X = f => 30 + (w - 40) * (f - first) / Math.max(last - first, 1), Y = p => h - 22 - (h - 34) * p;
    const dots = (points, fill, r, name) => points.map(([f, p]) => `<circle cx="${X(f).toFixed(1)}" cy="${Y(p).toFixed(1)}" r="${r}" fill="${fill}"><title>frame ${f}: ${name} ${p.toFixed(2)}</title></circle>`).join('');
    const called = t.filter(p => p[0] >= first && p[0] <= last), e = d.evidence && d.evidence[chosen.track];
    const site = e ? d.frames.map((f, i) => [f, e.prob[i] / 100]).filter(p => p[1] >= 0) : [];
    const light = called.filter(p => p[5] !== null).map(p => [p[0], Math.max(0, Math.min(1, p[5]))]);
    const path = site.map(([f, p], i) => `${i ? 'L' : 'M'}${X(f).toFixed(1)} ${Y(p).toFixed(1)}`).join('');
    const axis = [0, .5, 1].map(p => `<line x1="30" x2="${w - 10}" y1="${Y(p)}" y2="${Y(p)}" class="axis"/><text x="4" y="${Y(p) + 4}">${p}</text>`).join('');
    $('evidence').innerHTML = `<svg viewBox="0 0 ${w} ${h}" role="img" aria-label="Evidence of this defect over the frames">${axis}` +
      `<path d="${path}" fill="none" stroke="currentColor" opacity=".6"/>` + dots(called.map(p => [p[0], p[4]]), colour[chosen.kind], 3, 'probability') +
      dots(light, '#888', 2, 'light') + `<text x="30" y="${h - 6}">frame ${first}</text><text x="${w - 10}" y="${h - 6}" text-anchor="end">${last}</text></svg>` +
      `<p>Coloured: probability of the kind where it was called. Grey: light of the column (1: ideal).${site.length ? ` Line: probability of ${e.kind} on the site where it is most often, called or not.` : ''}</p>`;
  }

  function go(to) {
    k = Math.min(Math.max(to, 0), d.frames.length - 1);
    $('frame').value = k; $('frame').setAttribute('aria-valuetext', `frame ${d.frames[k]}`);
    if (chosen && chosen.frame !== d.frames[k]) {
      const same = chosen.track >= 0 && marks().find(m => m.track === chosen.track && m.state !== 'deleted');
      chosen = same ? {...same, frame: d.frames[k]} : {...chosen};
      if (same) $('who').textContent = describe(same);
    }
    draw();
  }
  function play(start) {
    clearInterval(timer); timer = start ? setInterval(() => go(k + 1 < d.frames.length ? k + 1 : 0), 1000 / +$('speed').value) : null;
    $('play').textContent = start ? 'Pause' : 'Play'; $('play').setAttribute('aria-pressed', String(start));
  }
  const mode = () => document.querySelector('.viewer input[name=mode]:checked').value;

  function act(item, text) {
    Corrections.act(list, item); say(text); draw();
  }
  const place = m => ({frame: d.frames[k], y_px: m.y, x_px: m.x, ...(m.track >= 0 && {track: m.track})});
  const here = () => chosen && chosen.frame === d.frames[k] ? Corrections.nearest(marks(), chosen.x, chosen.y, d.reach) : null;
  const DO = {
    add(x, y) {
      if (x < -.5 || y < -.5 || x > image.w - .5 || y > image.h - .5) return;
      const there = Corrections.nearest(marks(), x, y, d.reach);
      if (there) return say(`There is a ${there.kind} already: relabel or delete it.`);
      act({action: 'add', frame: d.frames[k], y_px: y, x_px: x, kind: $('as').value}, `${$('as').value} added`);
      choose(Corrections.nearest(marks(), x, y, d.reach));
    },
    delete() {
      const m = here(); if (!m) return;
      act({action: 'delete', ...place(m)}, `${m.kind} deleted`); choose(null);
    },
    relabel() {
      const m = here(), kind = $('as').value; if (!m) return;
      if (m.kind === kind) return say(`It is a ${kind} already: choose another kind first.`);
      act({action: 'relabel', ...place(m), kind}, `${m.kind} is now ${kind}`); choose(here());
    },
    unlink() {
      const m = here(); if (m) act({action: 'unlink', ...place(m)}, 'A track of its own begins here');
    },
    relink() {
      const m = here(); if (!m) return;
      from = from ? null : chosen;
      say(from ? 'Now go to another frame and click the same defect there.' : 'No link made.'); draw();
    },
    region(ax, ay, bx, by) {
      const all = $('every').checked && d.frames.length > 1, [dy, dx] = all ? d.drift[k] : [0, 0];
      act({action: 'exclude', ...(all ? {} : {frame: d.frames[k]}), y_px: ay - dy, x_px: ax - dx, y_to_px: by - dy, x_to_px: bx - dx},
        all ? 'Region left out in all frames' : 'Region left out in this frame');
    },
    save() {
      const text = Corrections.csv(list.items, d.table, d.version, d.columns, d.stretch);
      const link = document.createElement('a');
      link.href = URL.createObjectURL(new Blob([text], {type: 'text/csv'})); link.download = 'corrections.csv';
      document.body.append(link); link.click(); link.remove(); setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      list.saved = list.items.length; say('corrections.csv saved');
    },
  };

  function click(x, y) {
    if (mode() === 'add') return DO.add(x, y);
    const m = Corrections.nearest(marks().filter(m => on().has(m.kind)), x, y, Math.max(d.reach, 10 / camera.scale));
    const linked = m && from && from.frame !== d.frames[k];
    if (linked) {
      act({action: 'relink', ...place(m), frame_to: from.frame, y_to_px: from.y, x_to_px: from.x}, '');
      from = null;
    }
    choose(m);
    if (linked) say('Both are one defect now');
  }
  const canvas = canvases[0], at = e => [e.offsetX, e.offsetY];
  canvas.onpointerdown = e => { canvas.setPointerCapture(e.pointerId); drag = {start: at(e), last: at(e), far: false}; };
  canvas.onpointermove = e => {
    const [sx, sy] = at(e), [x, y] = Camera.toImage(camera, sx, sy);
    if (drag) {
      drag.far = drag.far || Math.hypot(sx - drag.start[0], sy - drag.start[1]) > 4;
      if (mode() === 'region') drag.box = [...Camera.toImage(camera, ...drag.start), x, y];
      else if (drag.far) camera = Camera.pan(camera, sx - drag.last[0], sy - drag.last[1], view, image);
      drag.last = [sx, sy]; return draw();
    }
    const m = Corrections.nearest(marks().filter(m => on().has(m.kind)), x, y, Math.max(d.reach, 8 / camera.scale)), tip = $('tip');
    if ((m && m.x) !== (hovered && hovered.x)) { hovered = m; canvas.style.cursor = m ? 'pointer' : 'crosshair'; }
    tip.hidden = !m;
    if (m) { tip.textContent = describe(m); tip.style.left = Math.min(sx + 14, view.w - 180) + 'px'; tip.style.top = sy + 14 + 'px'; }
  };
  canvas.onpointerup = e => {
    const was = drag; drag = null; if (!was) return;
    if (was.box && was.far) DO.region(...was.box); else if (!was.far) click(...Camera.toImage(camera, ...at(e)));
    draw();
  };
  canvas.onpointercancel = () => { drag = null; draw(); };
  canvas.onpointerleave = () => { $('tip').hidden = true; };
  canvas.addEventListener('wheel', e => {
    if (!e.ctrlKey && !e.metaKey && document.activeElement !== canvas) return; // the page scrolls
    e.preventDefault(); camera = Camera.zoom(camera, Math.exp(-e.deltaY / 400), ...at(e), view, image); draw();
  }, {passive: false});
  const zoom = f => { camera = f ? Camera.zoom(camera, f, view.w / 2, view.h / 2, view, image) : Camera.fit(view, image); draw(); };
  function next(step) {
    const some = marks().filter(m => on().has(m.kind) && m.state !== 'deleted' && m.state !== 'excluded');
    if (!some.length) return;
    const now = chosen ? some.findIndex(m => m.x === chosen.x && m.y === chosen.y) : -1;
    const m = some[((now < 0 && step < 0 ? 0 : now) + step + some.length) % some.length];
    camera = Camera.centre(camera, m.x, m.y, view, image); choose(m);
  }
  const KEYS = {
    ArrowRight: () => go(k + 1), ArrowLeft: () => go(k - 1), Home: () => go(0), End: () => go(d.frames.length - 1),
    ' ': () => play(!timer), '+': () => zoom(1.4), '=': () => zoom(1.4), '-': () => zoom(1 / 1.4), 0: () => zoom(0),
    n: () => next(1), p: () => next(-1), d: DO.delete, Delete: DO.delete, r: DO.relabel, l: DO.relink, x: DO.unlink,
    a: () => DO.add(...Camera.toImage(camera, view.w / 2, view.h / 2)), Escape: () => { from = null; choose(null); },
    u: () => { Corrections.undo(list); say('Undone'); choose(null); }, y: () => { Corrections.redo(list); say('Done again'); draw(); },
  };
  canvas.onkeydown = e => {
    const step = {ArrowRight: [-40, 0], ArrowLeft: [40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[e.key];
    if (e.shiftKey && step) { e.preventDefault(); camera = Camera.pan(camera, ...step, view, image); return draw(); }
    if (e.ctrlKey && e.key === 'z') { e.preventDefault(); return KEYS.u(); }
    if (e.ctrlKey || e.metaKey || e.altKey || !KEYS[e.key]) return;
    e.preventDefault(); KEYS[e.key]();
  };
  $('frame').max = d.frames.length - 1; $('frame').oninput = e => go(+e.target.value);
  $('play').onclick = () => play(!timer); $('speed').onchange = () => timer && play(true);
  $('larger').onclick = () => zoom(1.4); $('smaller').onclick = () => zoom(1 / 1.4); $('whole').onclick = () => zoom(0);
  for (const id of ['delete', 'relabel', 'relink', 'unlink', 'save']) $(id).onclick = () => DO[id]();
  $('undo').onclick = KEYS.u; $('redo').onclick = KEYS.y;
  $('checked').onchange = e => {
    const f = d.frames[k];
    if (e.target.checked) act({action: 'checked', frame: f}, `Frame ${f} is marked as looked at`);
    else { list.items = list.items.filter((i, n) => n < list.kept || i.action !== 'checked' || i.frame !== f); draw(); }
  };
  document.querySelectorAll('.viewer .kind, #marks, .viewer input[name=mode]').forEach(b => { b.onchange = draw; });
  $('aside').onchange = size;
  document.querySelectorAll('.queue button').forEach((b, n) => {
    b.onclick = () => {
      const q = d.queue[n], i = d.frames.indexOf(q.frame); if (i < 0) return;
      play(false); go(i); camera = Camera.centre({...Camera.fit(view, image), scale: Camera.fit(view, image).scale * 3}, q.x, q.y, view, image);
      choose(Corrections.nearest(marks(), q.x, q.y, d.reach)); say(`${q.kind}: ${q.why}`); canvas.scrollIntoView({block: 'nearest', behavior: still ? 'auto' : 'smooth'});
    };
  });
  addEventListener('resize', size);
  addEventListener('beforeunload', e => { if (list.items.length > Math.max(list.kept, list.saved || 0)) e.preventDefault(); });
  if (together) $('aside').parentElement.hidden = false;
  document.querySelectorAll('.viewer .many').forEach(one => { one.hidden = d.frames.length < 2; });
  size(); go(0);
})();
