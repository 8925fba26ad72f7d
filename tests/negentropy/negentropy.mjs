// Negentropy protocol version 1 for node: a second oracle for our own implementation, and one side of the line protocol (see
// negentropy_line.c). Times are BigInts, so that all 64 bits count.
import { createHash } from 'node:crypto';
import { createInterface } from 'node:readline';

const VERSION = 0x61;
const BUCKETS = 16;
const INFINITY = (1n << 64n) - 1n;
const FRAME_SPARE = 200;
const SKIP = 0, FINGERPRINT = 1, ID_LIST = 2;

function varint(value) {
  const digits = [];
  let n = BigInt(value);
  do {
    digits.unshift(Number(n & 127n) | (digits.length > 0 ? 128 : 0));
    n >>= 7n;
  } while (n > 0n);
  return Buffer.from(digits);
}

function compareItems(a, b) {
  if (a.time !== b.time) return a.time < b.time ? -1 : 1;
  return Buffer.compare(a.id, b.id);
}

class Reader {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
    this.time = 0n;
  }
  get left() {
    return this.bytes.length - this.at;
  }
  take(n) {
    if (n > this.left) throw new Error('the message ends too early');
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }
  varint() {
    for (let n = 0n; ;) {
      const digit = this.take(1)[0];
      n = n << 7n | BigInt(digit & 127);
      if (digit < 128) return n;
    }
  }
  bound() {
    const delta = this.varint();
    if (delta === 0n) this.time = INFINITY;
    else this.time = this.time + delta - 1n > INFINITY ? INFINITY : this.time + delta - 1n;
    return { time: this.time, id: this.take(Number(this.varint())) };
  }
}

class Writer {
  parts = [Buffer.from([VERSION])];
  length = 1;
  time = 0n;
  push(...parts) {
    for (const part of parts) {
      this.parts.push(part);
      this.length += part.length;
    }
  }
  range(bound, mode, ...payload) {
    this.push(varint(bound.time === INFINITY ? 0n : bound.time - this.time + 1n));
    this.time = bound.time;
    this.push(varint(bound.id.length), bound.id, varint(mode), ...payload);
  }
  mark() {
    return { count: this.parts.length, length: this.length };
  }
  back(mark) {
    this.parts.length = mark.count;
    this.length = mark.length;
  }
  bytes() {
    return Buffer.concat(this.parts);
  }
}

class Negentropy {
  initiator = false;
  constructor(items, frameLimit) {
    this.items = items.sort(compareItems);
    this.frameLimit = frameLimit;
  }
  fingerprint(begin, end) {
    let sum = 0n;
    for (let i = begin; i < end; i++) sum += BigInt('0x' + Buffer.from(this.items[i].id).reverse().toString('hex'));
    const bytes = Buffer.from((sum % (1n << 256n)).toString(16).padStart(64, '0'), 'hex').reverse();
    return createHash('sha256').update(bytes).update(varint(end - begin)).digest().subarray(0, 16);
  }
  lowerBound(bound, from) {
    let low = from, high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareItems(this.items[middle], bound) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  boundBefore(index) {
    const a = this.items[index - 1], b = this.items[index];
    let same = 0;
    if (a.time !== b.time) return { time: b.time, id: Buffer.alloc(0) };
    while (a.id[same] === b.id[same]) same++;
    return { time: b.time, id: b.id.subarray(0, same + 1) };
  }
  list(begin, end) {
    return [varint(end - begin), ...this.items.slice(begin, end).map((item) => item.id)];
  }
  split(out, begin, end, bound) {
    const count = end - begin;
    if (count < 2 * BUCKETS) {
      out.range(bound, ID_LIST, ...this.list(begin, end));
      return;
    }
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const stop = begin + Math.floor(count / BUCKETS) + (bucket < count % BUCKETS ? 1 : 0);
      out.range(stop === end ? bound : this.boundBefore(stop), FINGERPRINT, this.fingerprint(begin, stop));
      begin = stop;
    }
  }
  initiate() {
    const out = new Writer();
    this.initiator = true;
    this.split(out, 0, this.items.length, { time: INFINITY, id: Buffer.alloc(0) });
    return out.bytes();
  }
  tooLong(length) {
    return this.frameLimit > 0 && length > this.frameLimit - FRAME_SPARE;
  }
  compare(theirs, begin, end, have, need) {
    const open = new Set(theirs);
    for (let i = begin; i < end; i++) {
      const name = this.items[i].id.toString('hex');
      if (!open.delete(name)) have.push(name);
    }
    need.push(...open);
  }
  answerList(out, begin, end, bound, before) {
    for (let i = begin; i < end; i++) {
      if (!this.tooLong(before + 32 * (i - begin))) continue;
      bound = this.items[i];
      end = i;
    }
    out.range(bound, ID_LIST, ...this.list(begin, end));
    return end;
  }
  // The reply is null when an initiator is done.
  reconcile(message) {
    const query = new Reader(message), out = new Writer(), have = [], need = [];
    const version = query.take(1)[0];
    let at = 0, skipped = null;

    if (version < 0x60 || version > 0x6f) throw new Error('no Negentropy message');
    if (version !== VERSION) {
      if (this.initiator) throw new Error('the other side speaks another version');
      return { have, need, reply: out.bytes() };
    }
    while (query.left > 0) {
      const bound = query.bound(), mode = Number(query.varint()), before = out.length;
      let end = this.lowerBound(bound, at), mark = out.mark(), differs = false, theirs = [];

      if (mode === FINGERPRINT) differs = !query.take(16).equals(this.fingerprint(at, end));
      else if (mode === ID_LIST) {
        for (let left = query.varint(); left > 0n; left--) theirs.push(query.take(32).toString('hex'));
        differs = !this.initiator;
        if (this.initiator) this.compare(theirs, at, end, have, need);
      } else if (mode !== SKIP) throw new Error('no such mode');
      if (differs && skipped !== null) out.range(skipped, SKIP);
      skipped = differs ? null : bound;
      if (differs && mode === FINGERPRINT) this.split(out, at, end, bound);
      else if (differs) {
        end = this.answerList(out, at, end, bound, before);
        mark = out.mark();
      }
      if (this.tooLong(out.length)) {
        out.back(mark);
        out.range({ time: INFINITY, id: Buffer.alloc(0) }, FINGERPRINT, this.fingerprint(end, this.items.length));
        break;
      }
      at = end;
    }
    return { have, need, reply: this.initiator && out.length === 1 ? null : out.bytes() };
  }
}

const items = [];
let side = null;
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const [word, first, second] = line.split(',');
  const lines = [];

  if (word === 'item') items.push({ time: BigInt(first), id: Buffer.from(second, 'hex') });
  else if (word === 'seal') side = new Negentropy(items, Number(process.env.FRAMESIZELIMIT ?? 0));
  else if (word === 'initiate') lines.push(`msg,${side.initiate().toString('hex')}`);
  else if (word === 'msg') {
    const { have, need, reply } = side.reconcile(Buffer.from(first, 'hex'));
    if (reply !== null && side.frameLimit > 0 && reply.length > side.frameLimit) throw new Error('a message is over the limit');
    lines.push(...have.map((id) => `have,${id}`), ...need.map((id) => `need,${id}`));
    lines.push(reply === null ? 'done' : `msg,${reply.toString('hex')}`);
  } else if (word !== '') throw new Error(`no such command: ${word}`);
  if (lines.length > 0) process.stdout.write(lines.join('\n') + '\n');
}
