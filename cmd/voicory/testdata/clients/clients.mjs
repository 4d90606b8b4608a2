// Reads the calls of a server with what JavaScript has for Arrow and Parquet, and compares them with the pages of the API.
import assert from 'node:assert'
import { tableFromIPC } from 'apache-arrow'
import { asyncBufferFromUrl, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'

const [base, key] = process.argv.slice(2)
const headers = { 'x-api-key': key }
const listed = async path => (await (await fetch(base + path, { headers })).json())

const expected = new Map()
for (let cursor = ''; cursor !== undefined && cursor !== null;) {
  const page = await listed(`/api/v1/calls?limit=100&include_total=false&cursor=${cursor}`)
  for (const row of page.data) expected.set(row.id, `${row.created_at} ${row.status} ${row.summary}`)
  cursor = page.meta.next_cursor
}
assert(expected.size > 1000)

function compare(name, rows) {
  const found = new Map()
  for (const { id, created_at, status, summary } of rows) found.set(id, `${new Date(created_at).toISOString()} ${status} ${summary}`)
  assert.strictEqual(rows.length, expected.size, name)
  for (const [id, row] of expected) assert.strictEqual(found.get(id), row, name)
  console.log(`${name}: ${rows.length} rows`)
}

const columns = ['id', 'created_at', 'status', 'summary']
const rows = []
for (const { url, bytes } of (await listed('/api/v1/exports/calls/files?signed=true')).data) {
  const file = await asyncBufferFromUrl({ url: base + url, byteLength: bytes })
  rows.push(...await parquetReadObjects({ file, columns, compressors }))
}
compare('hyparquet, files', rows)
compare('apache-arrow, stream', (await tableFromIPC(fetch(`${base}/api/v1/exports/calls?format=arrow&columns=${columns}`, { headers }))).toArray())
