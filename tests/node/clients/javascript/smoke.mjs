// What a program with @clickhouse/client does: node smoke.mjs url password.
import {createClient} from '@clickhouse/client';

const [url, password] = process.argv.slice(2);
const client = createClient({url, username: 'default', password, compression: {request: true, response: true}});
if (!(await client.ping()).success) throw new Error('no answer');
await client.command({query: 'CREATE DATABASE javascript'});
await client.command({query: 'CREATE TABLE javascript.t (id UInt64, name String) ENGINE = MergeTree ORDER BY id'});
const values = Array.from({length: 50_000}, (_, id) => ({id, name: `it's ${id}`}));
await client.insert({table: 'javascript.t', values, format: 'JSONEachRow'});
const found = await client.query({
  query: 'SELECT id, name FROM javascript.t WHERE id >= {least:UInt64} ORDER BY id',
  query_params: {least: 49_998},
  format: 'JSONEachRow',
});
for (const row of await found.json()) console.log(row.id, row.name);
const count = await client.query({query: 'SELECT count() AS n FROM javascript.t', format: 'JSON'});
console.log((await count.json()).data[0].n);
let streamed = 0;
const stream = await client.query({query: 'SELECT * FROM javascript.t', format: 'JSONEachRow'});
for await (const rows of stream.stream()) streamed += rows.length;
console.log(streamed);
try {
  await client.query({query: 'SELECT * FROM javascript.none'});
} catch (error) {
  console.log('code', error.code);
}
await client.command({query: 'DROP DATABASE javascript'});
await client.close();
