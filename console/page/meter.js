// Counters, and the rate over the last minute.
import { $, bytes, count } from './dom.js';

const SECONDS = 60;

export class Meter {
  constructor() {
    this.canvas = $('spark');
    this.reset();
    setInterval(() => this.second(), 1000);
  }

  reset() {
    this.replayed = this.state = 0;
    this.events = this.bytes = this.gaps = this.beats = this.reconnects = 0;
    this.beatAt = 0;
    this.inSecond = 0;
    this.rates = new Array(SECONDS).fill(0);
    this.show();
    this.draw();
  }

  // second closes one second of the rate. It runs also while nothing arrives, so that the curve goes on.
  second() {
    this.rates.push(this.inSecond);
    this.rates.shift();
    this.inSecond = 0;
    $('n-rate').textContent = count(this.rates[SECONDS - 1]);
    this.showBeats();
    this.draw();
  }

  event(size) {
    this.events++;
    this.inSecond++;
    this.bytes += size;
  }

  // quiet is a block without an event; a heartbeat has a time.
  quiet(size, beatAt) {
    this.bytes += size;
    if (beatAt === 0) return;
    this.beats++;
    this.beatAt = beatAt;
  }

  // show writes the numbers; the page calls it once per animation frame at most.
  show() {
    $('n-events').textContent = count(this.events);
    $('n-bytes').textContent = bytes(this.bytes);
    $('n-gaps').textContent = count(this.gaps);
    $('n-gaps').classList.toggle('warn', this.gaps > 0);
    $('n-reconnects').textContent = count(this.reconnects);
    $('n-replayed').textContent = count(this.replayed);
    $('n-state').textContent = count(this.state);
    this.showBeats();
  }

  showBeats() {
    const ago = this.beatAt ? ` · ${Math.round((Date.now() - this.beatAt) / 1000)} s ago` : '';
    $('n-beats').textContent = count(this.beats) + ago;
  }

  draw() {
    const { canvas } = this;
    const g = canvas.getContext('2d');
    const style = getComputedStyle(canvas);
    const { width, height } = canvas;
    const most = Math.max(1, ...this.rates);
    const x = (i) => (i / (SECONDS - 1)) * width;
    const y = (n) => height - 3 - (n / most) * (height - 6);
    g.clearRect(0, 0, width, height);
    g.beginPath();
    this.rates.forEach((n, i) => (i ? g.lineTo(x(i), y(n)) : g.moveTo(x(i), y(n))));
    g.strokeStyle = style.color;
    g.lineWidth = 2.5;
    g.lineJoin = 'round';
    g.stroke();
    g.lineTo(width, height);
    g.lineTo(0, height);
    g.globalAlpha = 0.14;
    g.fillStyle = style.color;
    g.fill();
    g.globalAlpha = 1;
  }
}
