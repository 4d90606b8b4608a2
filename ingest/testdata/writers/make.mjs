// Writes the rows of rows.ndjson with apache-arrow of JavaScript.
// Run in this folder: npm install apache-arrow@21.2.0 && node make.mjs
import { readFileSync, writeFileSync } from "node:fs";
import {
  Float64, Int32, List, Field, Struct, Table, TimestampMillisecond, Uint16, Utf8, tableToIPC, vectorFromArray,
} from "apache-arrow";

const rows = readFileSync("rows.ndjson", "utf8").trim().split("\n").map((line) => JSON.parse(line));
const of = (name, type) => vectorFromArray(rows.map((row) => row[name]), type);
const time = (name) =>
  vectorFromArray(rows.map((row) => row[name] && new Date(row[name])), new TimestampMillisecond("UTC"));
const text = (name) => new Field(name, new Utf8(), true);
const turn = new Struct([text("speaker"), text("text")]);
const texts = ["id", "status", "from_number", "to_number", "duration", "summary"];
const columns = {
  ...Object.fromEntries(texts.map((name) => [name, of(name, new Utf8())])),
  direction: of("direction"), // a dictionary
  duration_seconds: of("duration_seconds", new Uint16()),
  cost: of("cost", new Float64()),
  stt_minutes: of("stt_minutes", new Float64()),
  tts_characters: of("tts_characters", new Int32()),
  started_at: time("started_at"),
  created_at: time("created_at"),
  transcript: of("transcript", new List(new Field("item", turn, true))),
  metadata: of("metadata", new Struct([text("plan"), text("city")])),
};
const table = new Table(columns);
writeFileSync("javascript.arrow", tableToIPC(table, "file"));
writeFileSync("javascript.arrows", tableToIPC(table, "stream"));
