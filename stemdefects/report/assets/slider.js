// Frames of the movie with their detections; the data are the JSON beside it (`report.slider.data`).
(() => {
  const d = JSON.parse(document.getElementById('movie-data').textContent);
  const canvas = document.getElementById('movie'), slider = document.getElementById('frame');
  const ratio = window.devicePixelRatio || 1, z = d.zoom;
  canvas.width = d.width * z * ratio; canvas.height = d.height * z * ratio;
  canvas.style.width = d.width * z + 'px'; canvas.style.height = d.height * z + 'px';
  const c = canvas.getContext('2d'); c.scale(ratio, ratio);
  slider.max = d.frames.length - 1;
  const images = d.pictures.map(p => {
    if (!p) return null;
    const i = new Image(); i.onload = draw; i.src = p; return i;
  });
  function draw() {
    const k = +slider.value, w = d.width * z, h = d.height * z;
    c.fillStyle = images[k] ? '#000' : '#fff'; c.fillRect(0, 0, w, h);
    if (images[k] && images[k].complete) c.drawImage(images[k], 0, 0, w, h);
    const on = new Set([...document.querySelectorAll('.kind')].filter(b => b.checked).map(b => +b.value));
    if (document.getElementById('marks').checked) for (const [x, y, kind, track, score] of d.marks[k]) {
      if (!on.has(kind)) continue;
      c.strokeStyle = d.colours[kind]; c.lineWidth = 1.6; c.globalAlpha = 0.4 + 0.6 * score;
      c.beginPath(); c.arc((x + .5) * z, (y + .5) * z, 7, 0, 7); c.stroke(); c.globalAlpha = 1;
    }
    if (d.bar) {
      c.font = '12px sans-serif'; c.fillStyle = images[k] ? 'rgba(0,0,0,.6)' : 'rgba(255,255,255,.8)';
      c.fillRect(5, h - 34, Math.max(d.bar.px * z, c.measureText(d.bar.text).width) + 10, 29);
      c.fillStyle = images[k] ? '#fff' : '#000';
      c.fillRect(10, h - 14, d.bar.px * z, 4); c.fillText(d.bar.text, 10, h - 19);
    }
    const time = d.unit === 's' ? `, ${d.times[k].toFixed(1)} s` : '';
    document.getElementById('when').textContent = `frame ${d.frames[k]}${time}, ${d.marks[k].length} detections`;
  }
  slider.oninput = draw;
  document.querySelectorAll('.kind, #marks').forEach(b => b.onchange = draw);
  draw();
})();
