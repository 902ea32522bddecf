// The page of a watch: everything is computed by the program, here it is only put in its place.
const byId = id => document.getElementById(id);
let state = {}, image = null;

const powers = '⁰¹²³⁴⁵⁶⁷⁸⁹';
const nice = text => text
  .replace(/(\d(?:\.\d+)?)e([+-])(\d+)/g, (_, n, sign, p) => `${n} × 10${sign === '-' ? '⁻' : ''}${[...String(+p)].map(d => powers[d]).join('')}`)
  .replace(/\^(\d)/g, (_, p) => powers[p]);

function put(parent, name, text, attributes = {}) {
  const svg = parent.namespaceURI.endsWith('svg');
  const made = svg ? document.createElementNS(parent.namespaceURI, name) : document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.appendChild(made);
  return made;
}

function mark(pen, shape, x, y, r) {
  pen.beginPath();
  if (shape === 'square') pen.rect(x - r, y - r, 2 * r, 2 * r);
  else if (shape === 'diamond') { pen.moveTo(x, y - r); pen.lineTo(x + r, y); pen.lineTo(x, y + r); pen.lineTo(x - r, y); pen.closePath(); }
  else if (shape === 'triangle') { pen.moveTo(x, y - r); pen.lineTo(x + r, y + r); pen.lineTo(x - r, y + r); pen.closePath(); }
  else pen.arc(x, y, r, 0, 2 * Math.PI);
  pen.stroke();
}

function drawFrame() {
  const canvas = byId('frame'), pen = canvas.getContext('2d');
  if (!image || !state.shape) return;
  const zoom = 640 / state.shape[1];
  canvas.width = 640;
  canvas.height = Math.round(state.shape[0] * zoom);
  pen.imageSmoothingEnabled = true;
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  const r = Math.max(4, .19 / state.pixel_size_nm * zoom);
  for (const call of state.calls) {
    const [colour, shape] = state.looks[call.kind] || ['#FFFFFF', 'circle'];
    const [red, green, blue] = [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16));
    for (const [style, width] of [[.3 * red + .59 * green + .11 * blue < 120 ? '#fff' : '#000', 3.5], [colour, 1.8]]) {
      pen.strokeStyle = style; pen.lineWidth = width;
      mark(pen, shape, (call.x_px + .5) * zoom, (call.y_px + .5) * zoom, r);
    }
  }
  const legend = byId('legend');
  legend.replaceChildren();
  for (const kind of new Set(state.calls.map(call => call.kind))) {
    const one = put(legend, 'span');
    put(one, 'span', undefined, { class: 'dot', style: `background:${state.looks[kind]?.[0]}` });
    put(one, 'span', `${kind} ${state.calls.filter(call => call.kind === kind).length}`);
  }
}

function drawCurves() {
  const svg = byId('curves'), points = state.points || [];
  svg.replaceChildren();
  if (points.length < 2) return;
  const kinds = [...new Set(points.flatMap(point => Object.keys(point[1])))];
  const last = points[points.length - 1][0], first = points[0][0];
  const top = Math.max(1, ...points.flatMap(point => Object.values(point[1]).map(v => v[2])));
  const x = frame => 45 + 585 * (frame - first) / Math.max(1, last - first), y = n => 175 - 165 * n / top;
  put(svg, 'line', undefined, { x1: 45, y1: 175, x2: 630, y2: 175, class: 'axis' });
  put(svg, 'line', undefined, { x1: 45, y1: 10, x2: 45, y2: 175, class: 'axis' });
  put(svg, 'text', String(Math.round(top)), { x: 40, y: 16, 'text-anchor': 'end' });
  put(svg, 'text', '0', { x: 40, y: 178, 'text-anchor': 'end' });
  put(svg, 'text', `frame ${last}`, { x: 630, y: 192, 'text-anchor': 'end' });
  put(svg, 'text', String(first), { x: 45, y: 192 });
  kinds.forEach((kind, k) => {
    const mine = points.filter(point => point[1][kind]), colour = state.curves[kind];
    if (!mine.length) return;
    const line = mine.map(point => `${x(point[0])},${y(point[1][kind][0])}`).join(' ');
    const band = [...mine.map(p => `${x(p[0])},${y(p[1][kind][2])}`), ...mine.reverse().map(p => `${x(p[0])},${y(p[1][kind][1])}`)];
    put(svg, 'polygon', undefined, { points: band.join(' '), fill: colour, opacity: .2 });
    put(svg, 'polyline', undefined, { points: line, fill: 'none', stroke: colour, 'stroke-width': 1.5 });
    put(svg, 'text', kind, { x: 55 + 70 * k, y: 12, style: `fill:${colour}` });
  });
}

function show(next) {
  const before = state;
  state = next;
  const latency = state.latency_s ? `, ${state.latency_s.toFixed(1)} s from file to calls` : '';
  const skipped = state.skipped ? `, ${state.skipped} left out` : '';
  byId('status').textContent = `${state.status}: ${state.done} of ${state.frames} frames of ${state.watch}${skipped}${latency}`;
  byId('sentence').hidden = !state.sentence;
  byId('sentence').textContent = nice(state.sentence || '');
  byId('cards').replaceChildren();
  for (const [title, value, below] of state.cards || []) {
    const card = put(byId('cards'), 'div', undefined, { class: 'card' });
    put(card, 'b', nice(value));
    put(card, 'span', nice(`${title}; ${below}`));
  }
  byId('messages').replaceChildren();
  for (const text of [...(state.said || [])].reverse()) put(byId('messages'), 'li', text);
  byId('finish').disabled = !['at work', 'waiting for frames'].includes(state.status);
  drawCurves();
  if (state.done !== before.done || !image) {
    const fresh = new Image(), calls = state;
    fresh.onload = () => { image = fresh; byId('caption').textContent = `Calls of frame ${calls.done - 1} by itself.`; drawFrame(); };
    fresh.src = `frame.png?${state.done}`;
  }
}

const events = new EventSource('events');
events.onmessage = message => show(JSON.parse(message.data));
events.onerror = () => {
  if (String(state.status).startsWith('done')) { events.close(); return; }
  byId('status').textContent = 'the program does not answer (it has ended, or is busy)';
};
byId('finish').onclick = () => fetch('finish', { method: 'POST', headers: { 'X-Live': 'finish' } });
