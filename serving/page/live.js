// The live candles of one market and interval by WebSocket. A lost connection is opened again.

const LONGEST_PAUSE_MS = 10_000;

export class Live {
  /** `onKline` gets each candle, `onState` "live" or "lost". `onReconnect` is called after each reconnect. */
  constructor({ onKline, onState, onReconnect }) {
    this.handlers = { onKline, onState, onReconnect };
    this.generation = 0;
    this.pause = 500;
  }

  open(exchange, symbol, interval) {
    this.close();
    const generation = this.generation;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const stream = `${symbol.toLowerCase()}@kline_${interval}`;
    const connect = (isReconnect) => {
      const socket = new WebSocket(`${scheme}://${location.host}/${encodeURIComponent(exchange)}/ws/${encodeURIComponent(stream)}`);
      this.socket = socket;
      socket.onopen = () => {
        if (generation !== this.generation) return;
        this.pause = 500;
        this.handlers.onState("live");
        if (isReconnect) this.handlers.onReconnect();
      };
      socket.onmessage = ({ data }) => {
        if (generation === this.generation) this.handlers.onKline(JSON.parse(data).k);
      };
      socket.onclose = () => {
        if (generation !== this.generation) return;
        this.handlers.onState("lost");
        setTimeout(() => generation === this.generation && connect(true), this.pause);
        this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
      };
    };
    connect(false);
  }

  close() {
    this.generation += 1;
    if (this.socket) this.socket.close();
    this.socket = null;
  }
}
