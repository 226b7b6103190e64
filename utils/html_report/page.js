(function () {
  "use strict";

  var page = JSON.parse(document.getElementById("page-data").textContent);
  var hidden = new Set();
  var opened = new Map();
  // The axes are x to the patient's left, y to the back, z to the head; letters: left, right, top, bottom.
  var PLANES = {
    axial: { through: 2, across: 0, down: 1, flipped: false, letters: "RLAP" },
    coronal: { through: 1, across: 0, down: 2, flipped: true, letters: "RLSI" },
    sagittal: { through: 0, across: 1, down: 2, flipped: true, letters: "APSI" },
    // Of a stack of images, which are no part of a body.
    page: { through: 2, across: 0, down: 1, flipped: false, letters: "" }
  };
  var TALLEST = 420;
  var TALLEST_PAGE = 640;
  var GAP = 16;

  function each(selector, root, use) {
    Array.prototype.forEach.call(root.querySelectorAll(selector), use);
  }

  // Tables: a click on a heading sorts by it, a second click the other way round; what is undefined stays last.

  function keyOf(row, place) {
    var cell = row.cells[place];
    if (place === 0) { return cell.textContent; }
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  }

  function compare(first, second, sign) {
    if (first === null || second === null) { return (first === null) - (second === null); }
    if (typeof first === "string") { return sign * first.localeCompare(second, undefined, { numeric: true }); }
    return sign * (first - second);
  }

  function sort(table, heading, place) {
    var rising = heading.getAttribute("aria-sort") !== "ascending";
    each("th[aria-sort]", table, function (other) { other.setAttribute("aria-sort", "none"); });
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    var body = table.tBodies[0];
    Array.from(body.rows)
      .map(function (row) { return { row: row, key: keyOf(row, place) }; })
      .sort(function (first, second) { return compare(first.key, second.key, rising ? 1 : -1); })
      .forEach(function (entry) { body.appendChild(entry.row); });
  }

  each("table.cases", document, function (table) {
    // The case's heading comes first, then one heading for each column.
    each("th[aria-sort]", table, function (heading, place) {
      heading.querySelector("button").addEventListener("click", function () { sort(table, heading, place); });
    });
  });

  // Volumes

  function bytesOf(text) {
    return Uint8Array.from(atob(text), function (letter) { return letter.charCodeAt(0); });
  }

  function labelsOf(text, count) {
    var bytes = bytesOf(text);
    var numbers = new DataView(bytes.buffer);
    var labels = new Uint8Array(count);
    for (var at = 0, start = 0; at < bytes.length; at += 4) {
      var length = numbers.getUint32(at, true) & 0xffffff;
      labels.fill(bytes[at + 3], start, start + length);
      start += length;
    }
    return labels;
  }

  function greyOf(picture, volume) {
    var shape = volume.shape, tile = volume.tile;
    var sheet = document.createElement("canvas");
    sheet.width = picture.naturalWidth;
    sheet.height = picture.naturalHeight;
    var context = sheet.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    var grey = new Uint8Array(shape[0] * shape[1] * shape[2]);
    for (var z = 0, at = 0; z < shape[2]; z++) {
      var left = (z % volume.columns) * tile[0], top = Math.floor(z / volume.columns) * tile[1];
      var pixels = context.getImageData(left, top, shape[0], shape[1]).data;
      for (var pixel = 0; pixel < pixels.length; pixel += 4) { grey[at++] = pixels[pixel]; }
    }
    return grey;
  }

  function open(card) {
    if (opened.has(card)) { return; }
    opened.set(card, null);
    var volume = JSON.parse(card.querySelector("script").textContent);
    var count = volume.shape[0] * volume.shape[1] * volume.shape[2];
    var picture = new Image();
    picture.onload = function () {
      if (!opened.has(card)) { return; }
      opened.set(card, {
        shape: volume.shape,
        spacing: volume.spacing,
        grey: greyOf(picture, volume),
        mask: labelsOf(volume.mask, count),
        truth: volume.truth === null ? null : labelsOf(volume.truth, count)
      });
      card.dataset.state = "open";
      draw(card);
    };
    picture.onerror = function () { card.dataset.state = "failed"; };
    picture.src = "data:image/jpeg;base64," + volume.image;
  }

  // Far from the window a case gives its memory back; its sliders stay where they were put.
  function close(card) {
    opened.delete(card);
    delete card.dataset.state;
    each("canvas", card, function (canvas) { canvas.width = canvas.height = 1; });
  }

  function slice(values, shape, plane, position) {
    var width = shape[plane.across], height = shape[plane.down];
    var steps = [1, shape[0], shape[0] * shape[1]];
    var cut = new Uint8Array(width * height);
    for (var row = 0, at = 0; row < height; row++) {
      var down = plane.flipped ? height - 1 - row : row;
      var start = position * steps[plane.through] + down * steps[plane.down];
      for (var column = 0; column < width; column++) { cut[at++] = values[start + column * steps[plane.across]]; }
    }
    return cut;
  }

  // Contours: marching squares between the centres of pixels, the inside on the left hand.

  var SEGMENTS = [
    "", "LT", "TR", "LR", "RB", "LTRB", "TB", "LB", "BL", "BT", "TRBL", "BR", "RL", "RT", "TL", ""
  ];
  var SIDES = { T: [1, 0], R: [2, 1], B: [1, 2], L: [0, 1] };

  function contours(labels, width, height, label) {
    var next = new Map(), stride = 2 * width + 8;
    function inside(x, y) {
      return x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] === label ? 1 : 0;
    }
    function key(x, y, side) { return (2 * (y + 1) + SIDES[side][1]) * stride + 2 * (x + 1) + SIDES[side][0]; }
    for (var y = -1; y < height; y++) {
      for (var x = -1; x < width; x++) {
        var kind = inside(x, y) | inside(x + 1, y) << 1 | inside(x + 1, y + 1) << 2 | inside(x, y + 1) << 3;
        var segments = SEGMENTS[kind];
        for (var at = 0; at < segments.length; at += 2) {
          next.set(key(x, y, segments[at]), key(x, y, segments[at + 1]));
        }
      }
    }
    var loops = [];
    while (next.size) {
      var point = next.keys().next().value, loop = [];
      while (next.has(point)) {
        // In pixels of the slice, whose first one reaches from 0 to 1.
        loop.push([(point % stride) / 2 - 0.5, Math.floor(point / stride) / 2 - 0.5]);
        var following = next.get(point);
        next.delete(point);
        point = following;
      }
      loops.push(loop);
    }
    return loops;
  }

  function trace(context, loops, across, down) {
    context.beginPath();
    loops.forEach(function (loop) {
      loop.forEach(function (point, number) {
        context[number ? "lineTo" : "moveTo"](point[0] * across, point[1] * down);
      });
      context.closePath();
    });
    context.stroke();
  }

  function outline(context, labels, width, height, scale, truth) {
    var present = Array.from(new Set(labels)).filter(function (label) { return label && !hidden.has(String(label)); });
    present.forEach(function (label) {
      var loops = contours(labels, width, height, label);
      // A dark rim tells a contour from bright tissue.
      context.setLineDash([]);
      context.strokeStyle = truth ? "rgba(0, 0, 0, 0.35)" : "rgba(0, 0, 0, 0.55)";
      context.lineWidth = truth ? 2.6 : 3.6;
      trace(context, loops, scale[0], scale[1]);
      context.setLineDash(truth ? [5, 4] : []);
      context.lineWidth = truth ? 1.5 : 2;
      context.strokeStyle = truth ? "#ffffff" : page.colours[(label - 1) % page.colours.length];
      trace(context, loops, scale[0], scale[1]);
    });
    return present.length;
  }

  // Drawing

  function positions(card) {
    var found = [0, 0, 0];
    each(".plane", card, function (figure) {
      found[PLANES[figure.dataset.plane].through] = Number(figure.querySelector("input").value);
    });
    return found;
  }

  function paint(figure, volume, place) {
    var plane = PLANES[figure.dataset.plane], canvas = figure.querySelector("canvas");
    var shape = volume.shape, width = shape[plane.across], height = shape[plane.down];
    var position = place[plane.through];
    var small = document.createElement("canvas");
    small.width = width;
    small.height = height;
    var pixels = new ImageData(width, height);
    slice(volume.grey, shape, plane, position).forEach(function (grey, at) {
      pixels.data.fill(grey, 4 * at, 4 * at + 3);
      pixels.data[4 * at + 3] = 255;
    });
    small.getContext("2d").putImageData(pixels, 0, 0);
    var context = canvas.getContext("2d");
    var dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * dense);
    canvas.height = Math.round(canvas.clientHeight * dense);
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    context.setTransform(dense, 0, 0, dense, 0, 0);
    var scale = [canvas.clientWidth / width, canvas.clientHeight / height];
    context.lineJoin = "round";
    var drawn = 0;
    [["mask", false], ["truth", true]].forEach(function (layer) {
      if (volume[layer[0]] && !hidden.has(layer[0])) {
        var labels = slice(volume[layer[0]], shape, plane, position);
        drawn += outline(context, labels, width, height, scale, layer[1]);
      }
    });
    if (!hidden.has("cross") && plane !== PLANES.page) { cross(context, canvas, plane, shape, place, scale); }
    letter(context, canvas, plane.letters);
    describe(figure, canvas, position, shape[plane.through], drawn);
  }

  function cross(context, canvas, plane, shape, place, scale) {
    var down = place[plane.down];
    var x = (place[plane.across] + 0.5) * scale[0];
    var y = ((plane.flipped ? shape[plane.down] - 1 - down : down) + 0.5) * scale[1];
    context.setLineDash([]);
    context.lineWidth = 1;
    context.strokeStyle = "rgba(255, 255, 255, 0.28)";
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, canvas.clientHeight);
    context.moveTo(0, y);
    context.lineTo(canvas.clientWidth, y);
    context.stroke();
  }

  function letter(context, canvas, letters) {
    var right = canvas.clientWidth - 9, bottom = canvas.clientHeight - 9;
    var places = [[9, bottom / 2], [right, bottom / 2], [right / 2, 9], [right / 2, bottom]];
    context.font = "bold 11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 3;
    context.setLineDash([]);
    context.strokeStyle = "rgba(0, 0, 0, 0.7)";
    context.fillStyle = "rgba(255, 255, 255, 0.85)";
    places.slice(0, letters.length).forEach(function (place, number) {
      context.strokeText(letters[number], place[0], place[1]);
      context.fillText(letters[number], place[0], place[1]);
    });
  }

  function describe(figure, canvas, position, count, drawn) {
    var input = figure.querySelector("input"), told = "slice " + (position + 1) + " of " + count;
    figure.querySelector("output").textContent = (position + 1) + " / " + count;
    input.setAttribute("aria-valuetext", told);
    canvas.setAttribute("aria-label", figure.dataset.plane + " " + told + (drawn ? ", with contours" : ", no contours"));
  }

  function draw(card) {
    var volume = opened.get(card);
    if (!volume) { return; }
    var place = positions(card);
    each(".plane", card, function (figure) { paint(figure, volume, place); });
  }

  // All planes of a case have one scale in mm: side by side where that gives the larger pictures, else one below another.

  function fit(card) {
    var extent = card.dataset.extent.split(" ").map(Number);
    var room = card.querySelector(".planes").clientWidth;
    var together = (room - 2 * GAP - 1) / (2 * extent[0] + extent[1]);
    var alone = room / Math.max(extent[0], extent[1]);
    var scale = room >= 700 ? together : alone;
    scale = Math.min(scale, TALLEST / Math.max(extent[1], extent[2]));
    if (card.querySelector("[data-plane=page]")) { scale = Math.min(room / extent[0], TALLEST_PAGE / extent[1]); }
    each(".plane", card, function (figure) {
      var plane = PLANES[figure.dataset.plane], canvas = figure.querySelector("canvas");
      var width = Math.max(24, Math.round(scale * extent[plane.across]));
      var height = Math.max(24, Math.round(scale * extent[plane.down]));
      canvas.style.width = width + "px";
      canvas.style.height = height + "px";
      figure.style.width = Math.min(room, Math.max(width, 210)) + "px";
    });
    draw(card);
  }

  function move(card, figure, event) {
    var volume = opened.get(card);
    if (!volume) { return; }
    var plane = PLANES[figure.dataset.plane], canvas = figure.querySelector("canvas");
    var box = canvas.getBoundingClientRect();
    var parts = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    [plane.across, plane.down].forEach(function (axis, number) {
      var count = volume.shape[axis];
      var at = Math.min(count - 1, Math.max(0, Math.floor(parts[number] * count)));
      each(".plane", card, function (other) {
        if (PLANES[other.dataset.plane].through === axis) {
          other.querySelector("input").value = number === 1 && plane.flipped ? count - 1 - at : at;
        }
      });
    });
    draw(card);
  }

  var cards = Array.from(document.querySelectorAll("article.case"));
  var near = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) { (entry.isIntersecting ? open : close)(entry.target); });
  }, { rootMargin: "600px" });

  cards.forEach(function (card) {
    near.observe(card);
    card.addEventListener("input", function () { draw(card); });
    each(".plane", card, function (figure) {
      figure.querySelector("canvas").addEventListener("click", function (event) { move(card, figure, event); });
    });
  });

  each(".controls input", document, function (input) {
    input.addEventListener("change", function () {
      hidden[input.checked ? "delete" : "add"](input.value);
      cards.forEach(draw);
    });
  });

  // The scroll bar comes and goes too.
  var fitted = null;
  new ResizeObserver(function () {
    var width = document.getElementById("content").clientWidth;
    if (width !== fitted) {
      fitted = width;
      cards.forEach(fit);
    }
  }).observe(document.getElementById("content"));
})();
