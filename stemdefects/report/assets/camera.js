// Where the viewer looks: scale in screen px per image px, and the image place at the upper left corner.
const Camera = (() => {
  const MOST = 16; // times as large as a frame that fits
  const fit = (view, image) => clamp({scale: Math.min(view.w / image.w, view.h / image.h), x: -.5, y: -.5}, view, image);
  const least = (view, image) => Math.min(view.w / image.w, view.h / image.h);

  // no further than the frame's borders; a frame that is smaller than the view is centred. Pixel 0 is centred on 0
  function clamp(c, view, image) {
    const along = (at, size, length) => {
      const seen = size / c.scale;
      return seen >= length ? (length - seen) / 2 - .5 : Math.min(Math.max(at, -.5), length - seen - .5);
    };
    return {scale: c.scale, x: along(c.x, view.w, image.w), y: along(c.y, view.h, image.h)};
  }
  const toScreen = (c, x, y) => [(x - c.x) * c.scale, (y - c.y) * c.scale];
  const toImage = (c, sx, sy) => [sx / c.scale + c.x, sy / c.scale + c.y];

  // the same place stays under (sx, sy)
  function zoom(c, factor, sx, sy, view, image) {
    const [x, y] = toImage(c, sx, sy), low = least(view, image);
    const scale = Math.min(Math.max(c.scale * factor, low), low * MOST);
    return clamp({scale, x: x - sx / scale, y: y - sy / scale}, view, image);
  }
  const pan = (c, dx, dy, view, image) => clamp({scale: c.scale, x: c.x - dx / c.scale, y: c.y - dy / c.scale}, view, image);
  const centre = (c, x, y, view, image) =>
    clamp({scale: c.scale, x: x - view.w / c.scale / 2, y: y - view.h / c.scale / 2}, view, image);

  return {fit, clamp, toScreen, toImage, zoom, pan, centre};
})();
if (typeof module !== 'undefined') module.exports = Camera;
